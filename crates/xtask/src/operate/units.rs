//! systemd's units against the configuration: they leave time for the drain, and the settings they give are there. Whether systemd
//! understands them is asked of it by deploy/systemd/check.sh.

use std::path::Path;
use std::time::Duration;

use mailtier_config::Config;

use super::{names, text};
use crate::tidy::Finding;

/// The folder of the units.
const UNITS: &str = "deploy/systemd";

/// What is wrong with the units.
///
/// # Errors
/// A unit cannot be read.
pub(super) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for name in names(root, UNITS, ".service")? {
        let place = format!("{UNITS}/{name}.service");
        let problems = problems(&name, &text(root, &place)?, &Config::default());
        findings.extend(problems.into_iter().map(|message| Finding { check: "units", place: place.clone(), message }));
    }
    Ok(findings)
}

fn problems(name: &str, unit: &str, config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    let drain = match name {
        "mailtier-inbound" => config.inbound.drain_timeout,
        "mailtier-queue" => config.queue.drain_timeout,
        "mailtier-outbound" => config.outbound.drain_timeout,
        _ => Duration::ZERO,
    };
    let seconds = values(unit, "TimeoutStopSec=").filter_map(|value| value.parse().ok()).next();
    if !drain.is_zero() && seconds.is_none_or(|seconds| Duration::from_secs(seconds) <= drain) {
        problems.push(format!("TimeoutStopSec leaves no time for the drain, which may take {} s", drain.as_secs()));
    }
    for variable in values(unit, "Environment=").filter_map(|value| value.strip_prefix("MAILTIER__")) {
        let variable = variable.split('=').next().unwrap_or_default();
        let known = variable.to_lowercase().split_once("__").is_some_and(|(section, key)| {
            let keys = Config::SECTIONS.iter().find(|(name, ..)| *name == section).map(|(_, _, keys)| *keys);
            keys.is_some_and(|keys| keys.iter().any(|known| known.name == key))
        });
        if !known {
            problems.push(format!("MAILTIER__{variable} is no key of the configuration"));
        }
    }
    problems
}

fn values<'a>(unit: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    unit.lines().filter_map(move |line| line.strip_prefix(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_leave_time_for_the_drain_and_give_settings_that_are_there() {
        let good = "TimeoutStopSec=75\nEnvironment=MAILTIER__CLUSTER__SECRET_FILE=%d/cluster\nEnvironment=MAILTIER_CONFIG=/x\n";
        let of = |unit: &str| problems("mailtier-outbound", unit, &Config::default());
        assert_eq!(of(good), [""; 0]);
        assert_eq!(of(&good.replace("75", "60")).len(), 1);
        assert_eq!(of(&good.replace("TimeoutStopSec=75", "")).len(), 1);
        assert_eq!(of(&good.replace("SECRET_FILE", "SECRETS")).len(), 1);
    }
}
