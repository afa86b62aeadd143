//! What is counted of what became of recipients: by outcome and class, by provider, and how long it took. A batch is added
//! up first, so that a metric is touched once for each of its series; only how long each delivery took is told one by one.
//! Not responsible for what the lines say.

use mailtier_schedule::Rules;
use mailtier_telemetry::Meters;
use mailtier_types::{BounceClass, EventKind};
use opentelemetry::KeyValue;

use super::line::{Delays, Line};
use crate::conductor::OTHER_PROVIDER;

/// In the order of Postfix's delays a/b/c/d.
const STAGES: [&str; 4] = ["queued", "waiting", "connecting", "sending"];

/// Providers, and the attributes of their series.
#[derive(Debug, Clone)]
pub(crate) struct Providers {
    /// Which exchangers are whose.
    rules: Rules,
    /// In the order of the providers; the last is of what is nobody's.
    series: Vec<Series>,
}

#[derive(Debug, Clone)]
struct Series {
    provider: [KeyValue; 1],
    stages: [[KeyValue; 2]; 4],
}

impl Series {
    fn new(name: &str) -> Self {
        let provider = KeyValue::new("provider", name.to_owned());
        Self { stages: STAGES.map(|stage| [provider.clone(), KeyValue::new("stage", stage)]), provider: [provider] }
    }
}

impl Providers {
    /// Those of these rules.
    pub(crate) fn new(rules: Rules) -> Self {
        let names = rules.providers.iter().map(|provider| provider.name.as_str()).chain([OTHER_PROVIDER]);
        Self { series: names.map(Series::new).collect(), rules }
    }

    /// There are none.
    pub(crate) fn none() -> Self {
        Self::new(Rules::plain(1))
    }

    /// Where the provider whose host was met has its place.
    fn place(&self, line: &Line) -> usize {
        let remote = line.outcome.as_ref().and_then(|outcome| outcome.remote.as_ref());
        let name = remote.and_then(|remote| self.rules.provider_of(&remote.name));
        let place = name.and_then(|name| self.rules.providers.iter().position(|provider| provider.name == name));
        place.unwrap_or(self.rules.providers.len())
    }
}

/// What is added up of a batch.
#[derive(Debug, Default)]
struct Sums {
    settled: Vec<((EventKind, Option<BounceClass>), u64)>,
    of_providers: Vec<((usize, EventKind), u64)>,
}

/// Counts a batch.
pub(super) fn count(lines: &[Line], providers: &Providers, meters: &Meters) {
    let mut sums = Sums::default();
    for line in lines.iter().filter(|line| line.kind.is_outcome()) {
        let recipients = line.recipients.len() as u64;
        add(&mut sums.settled, (line.kind, line.class), recipients);
        if line.outcome.is_none() {
            continue;
        }
        let place = providers.place(line);
        add(&mut sums.of_providers, (place, line.kind), recipients);
        if line.kind == EventKind::RecipientDelivered
            && let (Some(series), Some(delays)) = (providers.series.get(place), line.delays())
        {
            time(series, delays, meters);
        }
    }
    for ((kind, class), recipients) in sums.settled {
        let [outcome] = Meters::attribute("outcome", kind.name());
        let [class] = Meters::attribute("class", class.map_or("none", BounceClass::name));
        meters.queue_settled.add(recipients, &[outcome, class]);
    }
    for ((place, kind), recipients) in sums.of_providers {
        if let Some(Series { provider: [provider], .. }) = providers.series.get(place) {
            let [outcome] = Meters::attribute("outcome", kind.name());
            meters.queue_provider_settled.add(recipients, &[provider.clone(), outcome]);
        }
    }
}

fn add<K: PartialEq>(sums: &mut Vec<(K, u64)>, key: K, count: u64) {
    match sums.iter_mut().find(|(known, _)| *known == key) {
        Some((_, sum)) => *sum += count,
        None => sums.push((key, count)),
    }
}

fn time(series: &Series, delays: Delays, meters: &Meters) {
    meters.queue_delivery_duration.record(delays.total.as_secs_f64(), &series.provider);
    for (delay, attributes) in delays.stages().into_iter().zip(&series.stages) {
        meters.queue_delivery_delay.record(delay.as_secs_f64(), attributes);
    }
}
