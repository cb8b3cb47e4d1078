//! A permit borrows its semaphore.
fn main() {
    let permit = {
        let semaphore = warded::LocalSemaphore::new(1);
        semaphore.permit().unwrap()
    };
    drop(permit);
}
