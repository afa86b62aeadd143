//! Delivery status notifications as their readers get them: people, programs and mail servers.

#[cfg(test)]
mod examples;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod world;
