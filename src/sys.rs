//! What the primitives are built on: atomics, cells, parking, spinning. The only place that knows
//! loom.
//!
//! `--cfg loom` swaps [`native`] for [`model`] and changes nothing else in the crate, so the code
//! that is model-checked is the code that ships. A cargo feature could not promise that: features
//! unify, and somebody's test would put loom into somebody else's production build.

#[cfg(not(loom))]
mod native;
#[cfg(not(loom))]
pub(crate) use native::*;

#[cfg(all(loom, feature = "loom"))]
pub(crate) mod model;
#[cfg(all(loom, feature = "loom"))]
pub(crate) use model::*;

#[cfg(all(loom, not(feature = "loom")))]
compile_error!(
    "`--cfg loom` needs warded's feature `loom` too: add it under \
     [target.'cfg(loom)'.dev-dependencies], where it costs nothing in other builds"
);

#[cfg(not(target_has_atomic = "64"))]
compile_error!("warded keeps a lock's whole state in one 64-bit atomic; this target has none");

/// Declares a function that is `const`, except under loom, whose atomics cannot be made in a
/// constant.
macro_rules! const_unless_loom {
    ($(#[$attribute:meta])* $vis:vis const fn $($rest:tt)*) => {
        #[cfg(not(loom))]
        $(#[$attribute])* $vis const fn $($rest)*
        #[cfg(loom)]
        $(#[$attribute])* $vis fn $($rest)*
    };
}
pub(crate) use const_unless_loom;
