//! The ways to take a lock in one of its modes, written once for all modes: blocking, at once,
//! within a time, until a deadline, and as a future; with a guard that borrows the lock, or one that
//! owns a share of it.

/// The five ways that give a borrowed guard.
macro_rules! ways {
    (
        impl $Lock:ident, $request:ident,
        thread: $make_guard:ident(), task: $make_task_guard:ident() -> $Guard:ident
        $(, before: $before:ident())?;
        $(#[$blocking_doc:meta])* $blocking:ident;
        $(#[$try_doc:meta])* $try:ident;
        $for:ident; $until:ident;
        $(#[$async_doc:meta])* $async:ident;
    ) => {
        impl<T: ?Sized> $Lock<T> {
            $(#[$blocking_doc])*
            #[inline]
            #[cfg_attr(debug_assertions, track_caller)]
            pub fn $blocking(&self) -> $Guard<'_, T> {
                $(self.$before();)?
                self.gate.acquire($request, None, Teller::of(self.name())).expect(Gate::PATIENT);
                self.$make_guard()
            }

            $(#[$try_doc])*
            #[inline]
            #[cfg_attr(debug_assertions, track_caller)]
            pub fn $try(&self) -> Option<$Guard<'_, T>> {
                if self.gate.try_acquire($request) { Some(self.$make_guard()) } else { None }
            }

            #[doc = concat!(
                "[`", stringify!($blocking), "`](Self::", stringify!($blocking), "), blocking the \
                thread for at most this long. `None` when the time is over.\n\n\
                ```\n# #[cfg(not(loom))] {\nuse std::time::Duration;\n\n\
                let lock = warded::", stringify!($Lock), "::new(7);\n\
                let guard = lock.", stringify!($for), "(Duration::from_millis(5));\n\
                assert_eq!(*guard.expect(\"nobody else is here\"), 7);\n# }\n```"
            )]
            #[cfg_attr(debug_assertions, track_caller)]
            pub fn $for(&self, timeout: Duration) -> Option<$Guard<'_, T>> {
                let entered = self.gate.acquire_within($request, timeout.into(), Teller::of(self.name())).is_ok();
                if entered { Some(self.$make_guard()) } else { None }
            }

            #[doc = concat!(
                "[`", stringify!($blocking), "`](Self::", stringify!($blocking), "), blocking the \
                thread until this instant at the latest. `None` when it has come.\n\n\
                ```\n# #[cfg(not(loom))] {\nuse std::time::{Duration, Instant};\n\n\
                let lock = warded::", stringify!($Lock), "::new(7);\n\
                let soon = Instant::now() + Duration::from_millis(5);\n\
                let guard = lock.", stringify!($until), "(soon);\n\
                assert_eq!(*guard.expect(\"nobody else is here\"), 7);\n# }\n```"
            )]
            #[cfg_attr(debug_assertions, track_caller)]
            pub fn $until(&self, deadline: Instant) -> Option<$Guard<'_, T>> {
                let entered = self.gate.acquire_within($request, deadline.into(), Teller::of(self.name())).is_ok();
                if entered { Some(self.$make_guard()) } else { None }
            }

            $(#[$async_doc])*
            pub async fn $async(&self) -> $Guard<'_, T> {
                self.gate.acquire_async($request, Teller::of(self.name())).await.expect(Gate::PATIENT);
                self.$make_task_guard()
            }
        }
    };
}

/// The same five, with a guard that keeps the lock alive itself.
macro_rules! owned_ways {
    (
        impl $Lock:ident, $request:ident,
        thread: $make_guard:ident(), task: $make_task_guard:ident() -> $Guard:ident
        $(, before: $before:ident())?;
        $($borrowed:ident => $owned:ident),*;
    ) => {
        owned_ways!(
            @methods $Lock $request $make_guard $make_task_guard $Guard [$($before)?]
            $($borrowed $owned)*
        );
    };
    (
        @methods $Lock:ident $request:ident $make_guard:ident $make_task_guard:ident $Guard:ident
        [$($before:ident)?]
        $blocking:ident $owned:ident
        $try:ident $try_owned:ident
        $for:ident $owned_for:ident
        $until:ident $owned_until:ident
        $async:ident $owned_async:ident
    ) => {
        impl<T: ?Sized> $Lock<T> {
            #[doc = owned_ways!(@doc $Lock $blocking $owned
                "let guard = lock." "();\nassert_eq!(*guard, 7);")]
            #[cfg_attr(debug_assertions, track_caller)]
            pub fn $owned(self: &Arc<Self>) -> $Guard<T> {
                $(self.$before();)?
                self.gate.acquire($request, None, Teller::of(self.name())).expect(Gate::PATIENT);
                self.$make_guard()
            }

            #[doc = owned_ways!(@doc $Lock $try $try_owned
                "let guard = lock." "();\nassert_eq!(*guard.expect(\"nobody else is here\"), 7);")]
            #[cfg_attr(debug_assertions, track_caller)]
            pub fn $try_owned(self: &Arc<Self>) -> Option<$Guard<T>> {
                if self.gate.try_acquire($request) { Some(self.$make_guard()) } else { None }
            }

            #[doc = owned_ways!(@doc $Lock $for $owned_for
                "let guard = lock." "(std::time::Duration::from_millis(5));\n\
                assert_eq!(*guard.expect(\"nobody else is here\"), 7);")]
            #[cfg_attr(debug_assertions, track_caller)]
            pub fn $owned_for(self: &Arc<Self>, timeout: Duration) -> Option<$Guard<T>> {
                let entered = self.gate.acquire_within($request, timeout.into(), Teller::of(self.name())).is_ok();
                if entered { Some(self.$make_guard()) } else { None }
            }

            #[doc = owned_ways!(@doc $Lock $until $owned_until
                "let soon = std::time::Instant::now() + std::time::Duration::from_millis(5);\n\
                let guard = lock." "(soon);\n\
                assert_eq!(*guard.expect(\"nobody else is here\"), 7);")]
            #[cfg_attr(debug_assertions, track_caller)]
            pub fn $owned_until(self: &Arc<Self>, deadline: Instant) -> Option<$Guard<T>> {
                let entered = self.gate.acquire_within($request, deadline.into(), Teller::of(self.name())).is_ok();
                if entered { Some(self.$make_guard()) } else { None }
            }

            #[doc = owned_ways!(@doc $Lock $async $owned_async
                "# pollster::block_on(async {\nlet guard = lock."
                "().await;\nassert_eq!(*guard, 7);\n# });")]
            pub fn $owned_async(self: &Arc<Self>) -> impl Future<Output = $Guard<T>> + use<T> {
                let lock = Arc::clone(self);
                async move {
                    lock.gate.acquire_async($request, Teller::of(lock.name())).await.expect(Gate::PATIENT);
                    lock.$make_task_guard()
                }
            }
        }
    };
    (@doc $Lock:ident $borrowed:ident $owned:ident $before:literal $after:literal) => {
        concat!(
            "[`", stringify!($borrowed), "`](Self::", stringify!($borrowed), "), with a guard that \
            keeps the lock alive itself.\n\n\
            ```\n# #[cfg(not(loom))] {\n\
            let lock = std::sync::Arc::new(warded::", stringify!($Lock), "::new(7));\n",
            $before, stringify!($owned), $after, "\n# }\n```"
        )
    };
}

pub(crate) use {owned_ways, ways};
