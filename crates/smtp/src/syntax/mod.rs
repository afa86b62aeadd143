//! What lines, paths and parameters look like. Not responsible for what they mean, which commands there are, or when
//! each may be said.

pub(crate) mod line;
pub(crate) mod parameter;
pub(crate) mod path;
