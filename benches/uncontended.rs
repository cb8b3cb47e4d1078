//! Nobody else at the primitive.
fn main() {}
