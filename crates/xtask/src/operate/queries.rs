//! A query of Prometheus against the metrics there are: unknown names, and labels that a series does not have where the
//! query uses them. Not responsible for types and units: Prometheus checks those.

use promql_parser::label::{Labels as Names, Matchers};
use promql_parser::parser::{AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, VectorSelector, parse, token};

use super::known::{Known, Labels};

/// Functions whose second argument is a label that they make.
const MAKE_LABEL: &[&str] = &["label_replace", "label_join"];

/// What is wrong with a query, and the labels of what it yields.
pub(super) fn check(query: &str, known: &Known) -> (Vec<String>, Labels) {
    let mut reader = Reader { known, problems: Vec::new() };
    let labels = match parse(query) {
        Ok(expression) => reader.labels(&expression),
        Err(error) => {
            reader.problems.push(format!("is no query: {error}"));
            Labels::new()
        }
    };
    (reader.problems, labels)
}

struct Reader<'a> {
    known: &'a Known,
    problems: Vec<String>,
}

impl Reader<'_> {
    /// The labels that the series of an expression may have.
    fn labels(&mut self, expression: &Expr) -> Labels {
        match expression {
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::MatrixSelector(matrix) => self.selector(&matrix.vs),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Binary(binary) => self.binary(binary),
            Expr::Call(call) => self.call(call),
            Expr::Paren(inner) => self.labels(&inner.expr),
            Expr::Unary(inner) => self.labels(&inner.expr),
            Expr::Subquery(inner) => self.labels(&inner.expr),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => Labels::new(),
        }
    }

    fn selector(&mut self, selector: &VectorSelector) -> Labels {
        let Some(name) = selector.name.as_deref() else {
            self.problems.push("selects series without a metric's name".to_owned());
            return Labels::new();
        };
        let Some(labels) = self.known.labels(name).cloned() else {
            self.problems.push(format!("no program exports {name}"));
            return Labels::new();
        };
        for label in matched(&selector.matchers) {
            self.expect(label, &labels, name);
        }
        labels
    }

    fn aggregate(&mut self, aggregate: &AggregateExpr) -> Labels {
        let mut labels = self.labels(&aggregate.expr);
        let what = aggregate.expr.to_string();
        match &aggregate.modifier {
            Some(LabelModifier::Include(kept)) => {
                self.expect_all(kept, &labels, &what);
                labels.retain(|label| kept.labels.contains(label));
            }
            Some(LabelModifier::Exclude(dropped)) => {
                self.expect_all(dropped, &labels, &what);
                labels.retain(|label| !dropped.labels.contains(label));
            }
            // What picks series leaves them as they are.
            None if [token::T_TOPK, token::T_BOTTOMK].contains(&aggregate.op.id()) => {}
            None => labels.clear(),
        }
        if let Some(Expr::StringLiteral(made)) = aggregate.param.as_deref() {
            labels.insert(made.val.clone());
        }
        labels
    }

    fn binary(&mut self, binary: &BinaryExpr) -> Labels {
        let (left, right) = (self.labels(&binary.lhs), self.labels(&binary.rhs));
        let Some(modifier) = &binary.modifier else { return left.union(&right).cloned().collect() };
        if let Some(matching) = &modifier.matching {
            for (labels, side) in [(&left, &binary.lhs), (&right, &binary.rhs)] {
                if matching.is_include() {
                    self.expect_all(matching.labels(), labels, &side.to_string());
                }
            }
        }
        left.union(&right).cloned().collect()
    }

    fn call(&mut self, call: &Call) -> Labels {
        let mut labels = Labels::new();
        for argument in &call.args.args {
            labels.extend(self.labels(argument));
        }
        if MAKE_LABEL.contains(&call.func.name)
            && let Some(Expr::StringLiteral(made)) = call.args.args.get(1).map(AsRef::as_ref)
        {
            labels.insert(made.val.clone());
        }
        labels
    }

    fn expect_all(&mut self, names: &Names, labels: &Labels, what: &str) {
        for name in &names.labels {
            self.expect(name, labels, what);
        }
    }

    fn expect(&mut self, label: &str, labels: &Labels, what: &str) {
        // Of what is not known nothing more is said.
        if !labels.is_empty() && !labels.contains(label) {
            self.problems.push(format!("{what} has no label {label}"));
        }
    }
}

fn matched(matchers: &Matchers) -> impl Iterator<Item = &str> {
    matchers.matchers.iter().chain(matchers.or_matchers.iter().flatten()).map(|matcher| matcher.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let mut known = Known::default();
        known.add("sessions_total", ["result".to_owned()].into());
        known.add("workers", Labels::new());
        known.add("wait_bucket", ["le".to_owned()].into());
        known
    }

    fn problems(query: &str) -> usize {
        check(query, &known()).0.len()
    }

    #[test]
    fn what_there_is_may_be_asked_for() {
        for query in [
            "workers == 0",
            "sum by (job, result) (rate(sessions_total{result!=\"shed\", job=~\"a.*\"}[5m])) > 0.1",
            "histogram_quantile(0.99, sum by (job, le) (rate(wait_bucket[5m])))",
            "absent(workers{job=\"a\"})",
            "max_over_time(sum by (job) (workers)[1h:1m]) and on (job) topk(3, sessions_total)",
            "count by (many) (count_values(\"many\", workers))",
        ] {
            assert_eq!(check(query, &known()).0, [""; 0], "{query}");
        }
    }

    #[test]
    fn slips_of_the_pen_are_found() {
        for query in [
            "worker == 0",
            "sessions_total{reslt=\"shed\"}",
            "sum by (reason) (rate(sessions_total[5m]))",
            "sum by (result) (sum by (job) (sessions_total))",
            "sum without (pool) (workers)",
            "workers and on (result) workers",
            "sum(",
            "{job=\"a\"}",
        ] {
            assert!(problems(query) > 0, "{query}");
        }
    }

    #[test]
    fn labels_of_the_result_are_those_that_are_left() {
        let labels = |query| check(query, &known()).1.into_iter().collect::<Vec<_>>();
        assert_eq!(labels("sum by (result) (sessions_total)"), ["result"]);
        assert_eq!(labels("sum(sessions_total)"), [""; 0]);
        assert!(labels("rate(sessions_total[5m])").contains(&"result".to_owned()));
    }
}
