//! Which deliveries are meant, as parameters of a query. Not responsible for what fits: `filter.rs` of this crate says it.

use mailtier_types::{Domain, TenantId};

use super::ask::Ask;
use super::problem::Problem;
use super::table::{Kind, Parameter, query};
use crate::filter::{AddressPattern, Filter};
use crate::wire;

/// The words of `DeliveryState`.
const STATES: &[&str] = &["waiting", "deferred", "held"];

/// All that can be said; a delivery that is meant fits all that is.
pub(crate) const FILTER: &[Parameter] = &[
    query("tenant", Kind::Number, "Of this tenant."),
    query("sender", Kind::Text, "From this address, from anyone at `@domain`, or from the null sender `<>`."),
    query("recipient", Kind::Text, "To this address, or to anyone at `@domain`."),
    query("destination", Kind::Text, "To this domain."),
    query("provider", Kind::Text, "Last attempted at an exchanger of this provider of the configuration."),
    query("state", Kind::Word(STATES), "Never attempted, with a failed attempt behind it, or held."),
    query("accepted_before", Kind::Time, "Accepted before this."),
    query("accepted_since", Kind::Time, "Accepted at this or after it."),
    query("min_attempts", Kind::Number, "Attempted at least so often."),
    query("reply_text", Kind::Text, "What the last attempt met contains this, in any case."),
    query("reply_code", Kind::Text, "What the last attempt met has this code: `4xx`, `421` or `4.7.1`."),
    query("larger_than_bytes", Kind::Number, "Of messages with more octets."),
];

/// What a query says.
pub(crate) fn filter(ask: &Ask) -> Result<Filter, Problem> {
    let destination = ask.text("destination").map(|name| {
        let wanted = "expected a domain such as example.com";
        Domain::parse(name).map_err(|error| Problem::bad("destination", format!("`{name}`: {error}; {wanted}")))
    });
    let filter = Filter {
        messages: Vec::new(),
        tenant: ask.number::<i32>("tenant")?.map(TenantId),
        sender: ask.text("sender").map(AddressPattern::sender).transpose()?,
        recipient: ask.text("recipient").map(AddressPattern::recipient).transpose()?,
        destination: destination.transpose()?,
        provider: ask.owned("provider"),
        state: ask.text("state").map(str::parse).transpose()?,
        accepted_before: ask.time("accepted_before"),
        accepted_since: ask.time("accepted_since"),
        min_attempts: ask.number::<u16>("min_attempts")?.filter(|attempts| *attempts > 0),
        reply_text: ask.owned("reply_text"),
        reply_code: ask.text("reply_code").map(str::parse).transpose()?,
        larger_than: ask.number("larger_than_bytes")?,
    };
    // What holds between them is judged where it is received over gRPC.
    Ok(Filter::try_from(wire::Filter::from(&filter))?)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mailtier_types::Timestamp;
    use tonic::codegen::http::{HeaderMap, Uri};

    use super::*;
    use crate::filter::DeliveryState;
    use crate::rest::ask::route;

    fn said(query: &str) -> Result<Filter, String> {
        let uri: Uri = format!("/v1/deliveries?{query}").parse().unwrap();
        let parse = || {
            let (operation, values) = route("GET", &uri)?;
            filter(&Ask::parse(operation, values, &uri, &HeaderMap::new(), Bytes::new())?)
        };
        parse().map_err(|problem: Problem| problem.detail)
    }

    #[test]
    fn all_that_a_filter_knows_can_be_said() {
        let names: Vec<_> = DeliveryState::ALL.iter().map(|state| state.name()).collect();
        assert_eq!(STATES, names);
        let said_all = said(
            "tenant=0&sender=%3C%3E&recipient=@b.example&destination=b.example&provider=big&state=deferred&min_attempts=3\
             &accepted_since=2027-01-15T08:00:00Z&accepted_before=2027-01-15T09:00:00Z&reply_text=later&reply_code=4xx\
             &larger_than_bytes=0",
        )
        .unwrap();
        assert_eq!(said_all.criteria(), u32::try_from(FILTER.len()).unwrap());
        assert_eq!(said_all.accepted_since, Some(Timestamp::from_secs(1_800_000_000)));
        assert_eq!(said("").unwrap(), Filter::default());
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (query, told) in [
            ("tenant=-1", "tenant: `-1`: expected a whole number"),
            ("min_attempts=70000", "min_attempts: `70000`"),
            ("sender=nobody", "sender: `nobody`"),
            ("recipient=%3C%3E", "recipient: `<>`"),
            ("destination=a@b.example", "destination: `a@b.example`"),
            ("state=defered", "did you mean `deferred`?"),
            ("reply_code=6xx", "reply_code: `6xx`"),
            ("accepted_since=2027-01-15T08:00:00Z&accepted_before=2027-01-15T08:00:00Z", "nothing is between"),
            ("deferred=true", "deferred: is no parameter"),
            ("sender=&destination=b.example", "sender: is empty"),
            ("reply_text", "reply_text: is empty"),
            ("tenant=", "tenant: is empty"),
        ] {
            let refused = said(query).unwrap_err();
            assert!(refused.contains(told), "{query}: {refused}");
        }
    }
}
