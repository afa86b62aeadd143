//! What users see, on the real programs: one binary, so that it links once.

mod chaos;
mod mail;
