//! A service that does one thing at a time for each customer, and many customers at once.
//!
//! Each request locks its customer's name, and a transfer locks two. The names in use are those of
//! the requests under way: when the last one is done, the manager holds nothing. With tokio the
//! handler is the same, in `tokio::spawn`.

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};
    use std::thread;

    use async_executor::Executor;
    use futures_lite::future::{block_on, yield_now};
    use warded::{LockError, LockManager, LockOwner};

    /// A store that knows single reads and single writes, and no transactions.
    #[derive(Default)]
    struct Store(Mutex<HashMap<String, i64>>);

    impl Store {
        async fn read(&self, customer: &str) -> i64 {
            yield_now().await; // as if it were far away
            self.0.lock().expect("nothing panics under it").get(customer).copied().unwrap_or(100)
        }

        async fn write(&self, customer: &str, balance: i64) {
            yield_now().await;
            self.0.lock().expect("nothing panics under it").insert(customer.to_owned(), balance);
        }
    }

    struct Service {
        locks: LockManager,
        store: Store,
    }

    /// Read, then write: wrong if another request for the customer comes in between.
    async fn pay_in(
        service: Arc<Service>,
        request: u32,
        customer: String,
    ) -> Result<(), LockError> {
        let owner = LockOwner::new(format!("request {request}"));
        let _alone =
            service.locks.get_lock(&customer)?.with_owner(&owner).lock_owned_async().await?;
        let balance = service.store.read(&customer).await;
        service.store.write(&customer, balance + 1).await;
        Ok(())
    }

    /// Two names, in whatever order: those who transfer never wait for each other in a circle.
    async fn transfer(service: Arc<Service>, from: String, to: String) -> Result<(), LockError> {
        let _alone = service.locks.lock_all_async(&[&from, &to]).await?;
        let store = &service.store;
        let (less, more) = (store.read(&from).await - 1, store.read(&to).await + 1);
        store.write(&from, less).await;
        store.write(&to, more).await;
        Ok(())
    }

    let service = Arc::new(Service { locks: LockManager::local(), store: Store::default() });
    let customer = |number: u32| format!("customer {}", number % 10);
    let executor = Executor::new();
    let mut requests = Vec::new();
    for request in 0..1_000 {
        requests.push(executor.spawn(pay_in(Arc::clone(&service), request, customer(request))));
        let (from, to) = (customer(request), customer(request / 7 + request % 10 + 1));
        if from != to {
            requests.push(executor.spawn(transfer(Arc::clone(&service), from, to)));
        }
    }
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| while executor.try_tick() {});
        }
    });
    block_on(executor.run(async {
        for request in requests {
            request.await.expect("names are not empty, and no deadlocks are looked for");
        }
    }));

    let total: i64 = service.store.0.lock().expect("nothing panics under it").values().sum();
    assert_eq!(total, 10 * 100 + 1_000, "an update was lost");
    assert!(service.locks.is_empty());
    println!(
        "1,000 payments and their transfers, none lost; {} names in use.",
        service.locks.len()
    );
}
