//! What the service manager that has started a program is told, where there is one that wants to hear it (sd_notify(3) of
//! systemd): that it is ready, reads its configuration again, drains, and lives. Not responsible for what any of that means.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use parking_lot::Mutex;
use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

/// The variable that names the manager's socket.
const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";
/// A program that serves counts as started after this time even if it lacks something, such as the queue: else whatever is
/// started after it would wait for that, too.
const READY_AT_THE_LATEST: Duration = Duration::from_secs(30);
/// So many signs of life are given in the time of the watchdog.
const SIGNS_OF_LIFE: u32 = 3;

/// Speaks to the manager. Without one it says nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manager {
    told: Arc<Mutex<Told>>,
    outlet: Option<Sender<Message>>,
}

/// What the manager knows.
#[derive(Debug, Default)]
struct Told {
    phase: Phase,
    not_ready: Option<&'static str>,
    /// Why the configuration that was read last is not used.
    trouble: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Starting,
    Serving,
    Draining,
}

#[derive(Debug)]
struct Message {
    states: Vec<NotifyState<'static>>,
    status: Option<String>,
}

impl Manager {
    /// Whom the environment names, if it names anybody.
    pub(crate) fn of_environment() -> Self {
        if std::env::var_os(SOCKET_VARIABLE).is_none_or(|socket| socket.is_empty()) {
            return Self::default();
        }
        let (outlet, messages) = channel();
        // A manager that does not read holds up nothing else.
        let speaking = std::thread::Builder::new().name("manager".to_owned()).spawn(move || speak(&messages));
        if let Err(error) = speaking {
            tracing::warn!(%error, "the service manager is told nothing");
            return Self::default();
        }
        Self { outlet: Some(outlet), ..Self::default() }
    }

    /// Gives signs of life while the program's threads have time for a task of theirs, if they are asked for.
    pub(crate) fn live(&self, end: &CancellationToken) {
        if let (Some(_), Some(limit)) = (&self.outlet, sd_notify::watchdog_enabled()) {
            // A worker thread's: whoever has started the program's runtime may have time although those have none.
            tokio::spawn(self.clone().give_signs(limit / SIGNS_OF_LIFE, end.clone()));
        }
    }

    async fn give_signs(self, every: Duration, end: CancellationToken) {
        let mut beat = interval(every.max(Duration::from_millis(1)));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while end.run_until_cancelled(beat.tick()).await.is_some() {
            self.send(vec![NotifyState::Watchdog], None);
        }
    }

    /// Tells of a program that has begun to serve: when it is ready, and what it lacks.
    pub(crate) fn follow(&self, health: watch::Receiver<Option<&'static str>>, end: &CancellationToken) {
        if self.outlet.is_some() {
            let (this, end) = (self.clone(), end.clone());
            tokio::spawn(async move { end.run_until_cancelled(this.tell_of(health, READY_AT_THE_LATEST)).await });
        }
    }

    async fn tell_of(self, mut health: watch::Receiver<Option<&'static str>>, latest: Duration) {
        let mut too_late = std::pin::pin!(sleep(latest));
        let mut is_late = false;
        loop {
            let not_ready = *health.borrow_and_update();
            self.is(not_ready, is_late);
            tokio::select! {
                changed = health.changed() => if changed.is_err() { return },
                () = &mut too_late, if !is_late => is_late = true,
            }
        }
    }

    fn is(&self, not_ready: Option<&'static str>, is_late: bool) {
        let mut told = self.told.lock();
        told.not_ready = not_ready;
        let status = Some(told.status());
        match told.phase {
            Phase::Starting if not_ready.is_none() || is_late => {
                told.phase = Phase::Serving;
                self.send(vec![NotifyState::Ready], status);
            }
            Phase::Starting | Phase::Serving => self.send(Vec::new(), status),
            Phase::Draining => {}
        }
    }

    /// The configuration is read again.
    pub(crate) fn reads_again(&self) {
        // Who is not ready yet would be taken for ready at the end of it.
        if self.told.lock().phase == Phase::Serving {
            // systemd tells by the time whether it was asked for before or after.
            let now = NotifyState::monotonic_usec_now().ok();
            self.send(std::iter::once(NotifyState::Reloading).chain(now).collect(), None);
        }
    }

    /// It was read, and is used, or not for this reason.
    pub(crate) fn has_read_again(&self, trouble: Option<&str>) {
        let mut told = self.told.lock();
        told.trouble = trouble.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
        if told.phase == Phase::Serving {
            self.send(vec![NotifyState::Ready], Some(told.status()));
        }
    }

    /// The program finishes what it has begun, and ends.
    pub(crate) fn drains(&self) {
        self.told.lock().phase = Phase::Draining;
        self.send(vec![NotifyState::Stopping], Some("draining".to_owned()));
    }

    fn send(&self, states: Vec<NotifyState<'static>>, status: Option<String>) {
        if let Some(outlet) = &self.outlet {
            // Who listens lives as long as somebody may speak.
            let _ = outlet.send(Message { states, status });
        }
    }
}

impl Told {
    /// In a line, as `systemctl status` shows it.
    fn status(&self) -> String {
        let health = self.not_ready.map_or_else(|| "ready".to_owned(), |reason| format!("not ready: {reason}"));
        match &self.trouble {
            Some(trouble) => format!("{health}; {trouble}"),
            None => health,
        }
    }
}

/// Until nobody has anything more to say.
fn speak(messages: &Receiver<Message>) {
    let mut is_heard = true;
    for Message { mut states, status } in messages {
        states.extend(status.as_deref().map(NotifyState::Status));
        let said = sd_notify::notify(&states);
        if let (Err(error), true) = (&said, is_heard) {
            tracing::warn!(%error, "the service manager does not hear what it is told");
        }
        is_heard = said.is_ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Heard {
        manager: Manager,
        messages: Receiver<Message>,
    }

    impl Heard {
        fn new() -> Self {
            let (outlet, messages) = channel();
            Self { manager: Manager { outlet: Some(outlet), ..Manager::default() }, messages }
        }

        /// As the manager reads them: the states, and the status.
        fn all(&self) -> Vec<String> {
            let line = |message: Message| {
                let states = message.states.iter().map(ToString::to_string);
                states.chain(message.status).collect::<Vec<_>>().join(" ")
            };
            self.messages.try_iter().map(line).collect()
        }
    }

    #[test]
    fn a_life_is_told_step_by_step() {
        let heard = Heard::new();
        let manager = &heard.manager;
        manager.is(Some("starting"), false);
        manager.reads_again();
        manager.has_read_again(Some("the file\n  cannot be\nread"));
        assert_eq!(heard.all(), ["not ready: starting"], "a reload before it is ready does not make it so");
        manager.is(None, false);
        assert_eq!(heard.all(), ["READY=1 ready; the file cannot be read"], "a status is one line");
        manager.is(Some("no queue replica is connected"), false);
        assert_eq!(heard.all(), ["not ready: no queue replica is connected; the file cannot be read"]);
        manager.reads_again();
        let reloading = heard.all();
        let time = reloading[0].strip_prefix("RELOADING=1 MONOTONIC_USEC=").unwrap();
        assert!(time.parse::<u64>().unwrap() > 0 && reloading.len() == 1);
        manager.has_read_again(None);
        assert_eq!(heard.all(), ["READY=1 not ready: no queue replica is connected"]);
        manager.drains();
        manager.is(Some("draining"), false);
        manager.has_read_again(None);
        assert_eq!(heard.all(), ["STOPPING=1 draining"]);
    }

    #[tokio::test]
    async fn what_lacks_something_for_long_has_started_all_the_same() {
        let heard = Heard::new();
        let (_health, subscribed) = watch::channel(Some("no queue replica can be reached"));
        let until_serving = async {
            while heard.manager.told.lock().phase != Phase::Serving {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = heard.manager.clone().tell_of(subscribed, Duration::from_millis(1)) => panic!("it goes on"),
            serving = tokio::time::timeout(Duration::from_secs(20), until_serving) => serving.unwrap(),
        }
        let said = "not ready: no queue replica can be reached".to_owned();
        assert_eq!(heard.all(), [said.clone(), format!("READY=1 {said}")]);
    }

    #[test]
    fn without_a_manager_nothing_is_said() {
        let manager = Manager::default();
        manager.is(None, false);
        manager.drains();
        assert!(manager.outlet.is_none());
    }
}
