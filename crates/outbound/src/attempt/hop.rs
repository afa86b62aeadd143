//! One place that a delivery is tried at: an address, or a socket of this machine. Not responsible for what is said there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mailtier_route::Target;

use super::Attempt;
use super::open::Unopened;
use super::record::Place;
use crate::connections::{Key, Leased, Slot};
use crate::egress::Wish;

/// See the module.
#[derive(Clone, Copy)]
pub(super) enum Hop<'a> {
    /// A host of the plan.
    Host(&'a Target),
    /// A socket of a route.
    Socket(&'a Arc<PathBuf>),
}

impl Hop<'_> {
    /// For outcomes.
    pub(super) fn place(self) -> Place {
        match self {
            Self::Host(target) => Place::of(target),
            Self::Socket(path) => Place::of_socket(path),
        }
    }
}

impl Attempt<'_> {
    /// From which of our addresses it is to leave.
    fn wish(&self) -> Wish<'_> {
        Wish::of(self.dispatch, self.goes_with_all)
    }

    /// Where no address can be used at a place, since it blocks them all: until one may be.
    pub(super) fn blocked_for(&self, hop: Hop<'_>) -> Option<Duration> {
        match hop {
            Hop::Host(target) => self.egress.blocked_for(target.address, self.wish()),
            Hop::Socket(_) => None,
        }
    }

    /// Which connections are as good as any.
    pub(super) fn key(&self, hop: Hop<'_>) -> Key {
        match hop {
            Hop::Host(target) => Key::of((self.rules.generation, self.egress), target, self.manner.route),
            Hop::Socket(path) => Key::of_socket((self.rules.generation, self.egress), path, self.manner.route),
        }
    }

    /// An idle connection, or a new one.
    pub(super) async fn lease(&self, hop: Hop<'_>) -> Result<Leased, Unopened> {
        let opener = &self.rules.opener;
        let key = self.key(hop);
        let place = (&self.worker.connections, &key);
        match hop {
            Hop::Host(target) => opener.lease(place, self.egress, (target, self.wish()), &self.manner).await,
            Hop::Socket(path) => opener.lease_local(place, self.egress, path).await,
        }
    }

    /// A new connection in the place of one that had died.
    pub(super) async fn fresh(&self, hop: Hop<'_>, slot: Slot) -> Result<Leased, Unopened> {
        match hop {
            Hop::Host(target) => self.rules.opener.fresh(self.egress, (target, self.wish()), &self.manner, slot).await,
            Hop::Socket(path) => self.rules.opener.fresh_local(self.egress, path, slot).await,
        }
    }
}
