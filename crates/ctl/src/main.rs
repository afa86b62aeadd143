//! charter
fn main() {}
