//! The name of a primitive, for messages.

/// A name, or none.
///
/// Behind two pointers, since seldom does anybody read it: so it takes one word of each primitive,
/// and leaves the data their place in the cache line of the gate's word.
pub(super) struct Name(Option<Box<Box<str>>>);

impl Name {
    pub(super) const fn none() -> Self {
        Self(None)
    }

    pub(super) fn new(name: impl Into<Box<str>>) -> Self {
        Self(Some(Box::new(name.into())))
    }

    pub(super) fn get(&self) -> Option<&str> {
        self.0.as_ref().map(|name| &***name)
    }
}
