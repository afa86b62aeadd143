//! What several runs say together: the median, with the lowest and the highest.

use std::fmt;

/// Of several numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spread {
    /// The middle one, or what lies between the two in the middle.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) lowest: f64,
    /// The largest.
    pub(crate) highest: f64,
}

impl Spread {
    /// Of these; zeros where there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
        let last = values.len().saturating_sub(1);
        Self { median: f64::midpoint(at(last / 2), at(last.div_ceil(2))), lowest: at(0), highest: at(last) }
    }
}

/// `median (lowest to highest)`, with the digits that are asked for.
impl fmt::Display for Spread {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = formatter.precision().unwrap_or(0);
        let Self { median, lowest, highest } = self;
        write!(formatter, "{median:.digits$} ({lowest:.digits$} to {highest:.digits$})")
    }
}

/// The value below which a share of all lies (nearest rank); `values` need not be sorted.
pub(crate) fn percentile(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        let spread = Spread::of([5.0, 1.0, 3.0]);
        assert_eq!(spread, Spread { median: 3.0, lowest: 1.0, highest: 5.0 });
        assert_eq!(format!("{spread:.1}"), "3.0 (1.0 to 5.0)");
        assert_eq!(Spread::of([1.0, 2.0, 4.0, 8.0]), Spread { median: 3.0, lowest: 1.0, highest: 8.0 });
        assert_eq!(Spread::of([]), Spread::default());
    }

    #[test]
    fn a_percentile_is_a_value_that_was_there() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert!((percentile(&values, 0.5) - 100.0).abs() < f64::EPSILON);
        assert!((percentile(&values, 0.99) - 198.0).abs() < f64::EPSILON);
        assert!((percentile(&values, 1.0) - 200.0).abs() < f64::EPSILON);
        assert!(percentile(&[], 0.99).abs() < f64::EPSILON);
    }
}
