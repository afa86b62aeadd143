//! What lines, paths and parameters look like, for both halves of the engine. Not responsible for what they mean.
