//! charter
