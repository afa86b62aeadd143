//! The built-in rules against replies that hosts really give, and what is said of rules that are wrong.

#[cfg(test)]
mod replies;
#[cfg(test)]
mod rules;
