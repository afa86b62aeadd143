//! W3C trace context (<https://www.w3.org/TR/trace-context/>) in and out of tracing's spans, as the one line that is
//! stored with a message.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The `traceparent` of a span that is recorded; nothing where no trace is.
#[must_use]
pub fn traceparent_of(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    (context.is_valid() && context.is_sampled())
        .then(|| format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags().to_u8()))
}

/// Makes a span part of the trace of a `traceparent`. One that is malformed is ignored, as the standard asks.
pub(crate) fn set_parent(span: &Span, traceparent: &str) {
    if span.is_disabled() {
        return;
    }
    if let Some(context) = parse(traceparent) {
        let _ = span.set_parent(Context::new().with_remote_span_context(context));
    }
}

/// Links a span, which begins a trace of its own, to the span of a `traceparent`.
pub(crate) fn link(span: &Span, traceparent: &str) {
    if span.is_disabled() {
        return;
    }
    if let Some(context) = parse(traceparent) {
        span.add_link(context);
    }
}

/// Does something, such as writing a line of the log, within the trace of a message. Costs nothing where there is none.
pub fn in_trace<T>(traceparent: Option<&str>, what: impl FnOnce() -> T) -> T {
    let context = traceparent.and_then(parse).filter(SpanContext::is_sampled);
    let _entered = context.map(|context| Context::new().with_remote_span_context(context).attach());
    what()
}

/// The recorded trace that this is part of, if it is of any.
pub(crate) fn current() -> Option<(TraceId, SpanId)> {
    Context::map_current(|context| {
        let span = context.has_active_span().then(|| context.span().span_context().clone());
        span.filter(|span| span.is_valid() && span.is_sampled()).map(|span| (span.trace_id(), span.span_id()))
    })
}

fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lengths_fit = version.len() == 2 && trace.len() == 32 && span.len() == 16 && flags.len() == 2;
    if !lengths_fit || version == "ff" {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_well_formed_is_a_parent() {
        assert!(parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").is_some_and(|c| c.is_sampled()));
        for malformed in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-zzf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(parse(malformed).is_none(), "{malformed}");
        }
    }
}
