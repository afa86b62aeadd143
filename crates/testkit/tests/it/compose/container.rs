//! A process in the place of a container: started with what its service says, asked for its health, stopped by its signal.
//! Not responsible for where it finds others.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::str::FromStr as _;
use std::time::{Duration, Instant};

use mailtier_testkit::installation::{pause, program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clients::put_aside;

/// How long a container may take to become healthy, or to come to its end by itself.
const LIMIT: Duration = Duration::from_secs(90);
/// Compose's own, where a service says nothing.
const GRACE: Duration = Duration::from_secs(10);

/// What a container is made of, in this machine's terms.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) service: String,
    pub(super) words: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) health: Option<Vec<String>>,
    pub(super) stop_signal: Option<String>,
    pub(super) stop_grace_period: Option<Duration>,
    pub(super) log: PathBuf,
}

/// One that was started.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) recipe: Recipe,
    child: Child,
}

impl Container {
    pub(super) fn start(recipe: Recipe) -> Self {
        let log = File::options().create(true).append(true).open(&recipe.log).unwrap();
        let mut command = command(&recipe.words);
        command.envs(recipe.environment.iter().cloned()).stdin(Stdio::null());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn();
        let child = child.unwrap_or_else(|error| panic!("{:?}: {error}", recipe.words));
        Self { recipe, child }
    }

    /// Runs something else in it, as `docker compose exec` does; what it printed where it ended well.
    pub(super) fn exec(&self, words: &[String]) -> Result<String, String> {
        let output = command(words).envs(self.recipe.environment.iter().cloned()).output().unwrap();
        let said = [output.stdout, output.stderr].map(|octets| String::from_utf8_lossy(&octets).into_owned()).concat();
        if output.status.success() { Ok(said) } else { Err(format!("{words:?}: {}\n{said}", output.status)) }
    }

    /// What its health check says.
    pub(super) fn health(&self) -> Result<String, String> {
        self.exec(self.recipe.health.as_ref().expect("it has a health check"))
    }

    pub(super) fn until_healthy(&mut self) {
        let started = Instant::now();
        while let Err(said) = self.health() {
            let is_over = self.child.try_wait().unwrap().is_some() || started.elapsed() > LIMIT;
            assert!(!is_over, "{} is not healthy: {said}\n{}", self.recipe.service, self.log());
            pause();
        }
    }

    /// Waits until it has ended by itself, well.
    pub(super) fn until_completed(&mut self) {
        let status = self.until_ended(LIMIT);
        assert!(status.success(), "{}: {status}\n{}", self.recipe.service, self.log());
    }

    /// Sends the signal that its service is stopped by.
    pub(super) fn signal_to_stop(&self) {
        let signal = self.recipe.stop_signal.as_deref().unwrap_or("SIGTERM");
        kill(self.pid(), Signal::from_str(signal).unwrap()).unwrap();
    }

    /// Waits until it has ended after the signal, well and within what its service grants.
    pub(super) fn until_stopped(&mut self) {
        let status = self.until_ended(self.recipe.stop_grace_period.unwrap_or(GRACE));
        assert!(status.success(), "{}: {status}\n{}", self.recipe.service, self.log());
    }

    fn until_ended(&mut self, limit: Duration) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < limit, "{} does not end in {limit:?}\n{}", self.recipe.service, self.log());
            pause();
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub(super) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.recipe.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // HAProxy has a process of its own below this one, which it takes along where it is asked to end.
        let _ = kill(self.pid(), Signal::SIGTERM);
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(2) && matches!(self.child.try_wait(), Ok(None)) {
            pause();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program of an image, as it is here.
fn command(words: &[String]) -> Command {
    let (first, rest) = words.split_first().unwrap();
    let mut command = match first.as_str() {
        // As the entry point of its image has it.
        "haproxy" => {
            let mut haproxy = Command::new(put_aside("haproxy/run"));
            haproxy.args(["-W", "-db"]);
            haproxy
        }
        name if name.starts_with("mailtier") => Command::new(program(name).unwrap()),
        other => Command::new(other),
    };
    command.args(rest);
    command
}
