//! Which traces are recorded. It is decided once, at the reception; everything after follows. Not responsible for how the
//! decision travels: that is the trace context's.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

use crate::spans::RECEIVE;

/// A share of receptions. Other spans are only made of messages whose reception was recorded, so those that begin a trace of
/// their own, for a late attempt, are always recorded.
#[derive(Clone, Debug)]
pub(crate) struct ReceptionSampler {
    receptions: Sampler,
}

impl ReceptionSampler {
    /// This share, from 0 to 1.
    pub(crate) const fn new(share: f64) -> Self {
        Self { receptions: Sampler::TraceIdRatioBased(share) }
    }
}

impl ShouldSample for ReceptionSampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let parent =
            parent.filter(|parent| parent.has_active_span()).map(|parent| parent.span().span_context().clone());
        let is_sampled = match parent {
            Some(parent) => parent.is_sampled(),
            None if name == RECEIVE => {
                return self.receptions.should_sample(None, trace_id, name, kind, attributes, links);
            }
            None => true,
        };
        let decision = if is_sampled { SamplingDecision::RecordAndSample } else { SamplingDecision::Drop };
        SamplingResult { decision, attributes: Vec::new(), trace_state: TraceState::default() }
    }
}
