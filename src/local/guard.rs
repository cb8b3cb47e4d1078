//! What the guards of all primitives have in common, written once.
//!
//! A guard is permits of a gate (`Taken`, `OwnedTaken`) and a pointer to the data that they protect.
//! The pointer is valid as long as the permits are held: the primitive outlives its guards, by
//! borrow or by `Arc`.

/// Deref, formatting and construction of one guard type.
macro_rules! guard {
    (
        $(#[$doc:meta])*
        $Guard:ident[$($life:lifetime)? $($Data:ident)?] => $Target:ident, $access:ident, $taken:ty
    ) => {
        $(#[$doc])*
        #[must_use = "the lock is released when the guard is dropped"]
        pub struct $Guard<$($life,)? $($Data: ?Sized,)? $Target: ?Sized> {
            /// Given back when the guard goes.
            #[allow(dead_code, reason = "not every guard has another use for it")]
            taken: $taken,
            data: NonNull<$Target>,
            _access: PhantomData<guard!(@marker $access $($life)?, $Target)>,
        }

        impl<$($life,)? $($Data: ?Sized,)? $Target: ?Sized> $Guard<$($life,)? $($Data,)? $Target> {
            /// `data` is what the permits protect, and lives as long as they are held.
            pub(super) fn new(taken: $taken, data: NonNull<$Target>) -> Self {
                Self { taken, data, _access: PhantomData }
            }
        }

        impl<$($life,)? $($Data: ?Sized,)? $Target: ?Sized> Deref
            for $Guard<$($life,)? $($Data,)? $Target>
        {
            type Target = $Target;

            #[inline]
            fn deref(&self) -> &$Target {
                // SAFETY: the permits are held, and allow at least reading (I9).
                unsafe { self.data.as_ref() }
            }
        }

        guard!(@deref_mut $access $Guard [$($life,)?] [$($Data,)?] $Target);

        impl<$($life,)? $($Data: ?Sized,)? $Target: ?Sized + fmt::Debug> fmt::Debug
            for $Guard<$($life,)? $($Data,)? $Target>
        {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }

        impl<$($life,)? $($Data: ?Sized,)? $Target: ?Sized + fmt::Display> fmt::Display
            for $Guard<$($life,)? $($Data,)? $Target>
        {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    };

    // Variance, and the auto traits that the pointer takes away and `send!` gives back.
    (@marker exclusive $life:lifetime, $Target:ident) => { &$life mut $Target };
    (@marker shared $life:lifetime, $Target:ident) => { &$life $Target };
    (@marker exclusive, $Target:ident) => { *mut $Target };
    (@marker shared, $Target:ident) => { *const $Target };

    (@deref_mut shared $($rest:tt)*) => {};
    (@deref_mut exclusive $Guard:ident [$($life:lifetime,)?] [$($Data:ident,)?] $Target:ident) => {
        impl<$($life,)? $($Data: ?Sized,)? $Target: ?Sized> DerefMut
            for $Guard<$($life,)? $($Data,)? $Target>
        {
            #[inline]
            fn deref_mut(&mut self) -> &mut $Target {
                // SAFETY: the permits are held, and exclude everybody else (I9).
                unsafe { self.data.as_mut() }
            }
        }
    };
}

/// `map` and `try_map` of one guard type.
macro_rules! mapped {
    (
        $Guard:ident[$life:lifetime] => $Target:ident, $Mapped:ident, $access:ident
    ) => {
        impl<$life, $Target: ?Sized> $Guard<$life, $Target> {
            mapped!(@methods $Target, [$life,], $Mapped, $access);
        }
    };
    // An owned guard knows the whole data by its owner: it is the target, or stands beside it.
    (
        $Guard:ident[] => $Target:ident, $Mapped:ident, $access:ident
    ) => {
        impl<$Target: ?Sized> $Guard<$Target> {
            mapped!(@methods $Target, [$Target,], $Mapped, $access);
        }
    };
    (
        $Guard:ident[$Data:ident] => $Target:ident, $Mapped:ident, $access:ident
    ) => {
        impl<$Data: ?Sized, $Target: ?Sized> $Guard<$Data, $Target> {
            mapped!(@methods $Target, [$Data,], $Mapped, $access);
        }
    };
    (@methods $From:ident, [$($param:tt)*], $Mapped:ident, exclusive) => {
        /// Narrows the guard to a part of the data. What is protected, and until when, stays.
        ///
        /// An associated function, so that it hides no method of the data.
        pub fn map<Part: ?Sized>(
            mut guard: Self,
            narrow: impl FnOnce(&mut $From) -> &mut Part,
        ) -> $Mapped<$($param)* Part> {
            let part = NonNull::from(narrow(&mut guard));
            $Mapped::new(guard.taken, part)
        }

        /// Narrows the guard to a part of the data that may not be there.
        ///
        /// # Errors
        /// The guard as it was, if `narrow` finds nothing.
        pub fn try_map<Part: ?Sized>(
            mut guard: Self,
            narrow: impl FnOnce(&mut $From) -> Option<&mut Part>,
        ) -> Result<$Mapped<$($param)* Part>, Self> {
            match narrow(&mut guard).map(NonNull::from) {
                Some(part) => Ok($Mapped::new(guard.taken, part)),
                None => Err(guard),
            }
        }
    };
    (@methods $From:ident, [$($param:tt)*], $Mapped:ident, shared) => {
        /// Narrows the guard to a part of the data. What is protected, and until when, stays.
        ///
        /// An associated function, so that it hides no method of the data.
        pub fn map<Part: ?Sized>(
            guard: Self,
            narrow: impl FnOnce(&$From) -> &Part,
        ) -> $Mapped<$($param)* Part> {
            let part = NonNull::from(narrow(&guard));
            $Mapped::new(guard.taken, part)
        }

        /// Narrows the guard to a part of the data that may not be there.
        ///
        /// # Errors
        /// The guard as it was, if `narrow` finds nothing.
        pub fn try_map<Part: ?Sized>(
            guard: Self,
            narrow: impl FnOnce(&$From) -> Option<&Part>,
        ) -> Result<$Mapped<$($param)* Part>, Self> {
            match narrow(&guard).map(NonNull::from) {
                Some(part) => Ok($Mapped::new(guard.taken, part)),
                None => Err(guard),
            }
        }
    };
}

pub(crate) use {guard, mapped};
