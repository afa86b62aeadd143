//! Patterns of reply codes (`421`, `45x`) and of enhanced codes (`4.7.28`, `x.2.2`, `5.7.x`): an `x` is any digit of the
//! one, any number of the other.

use std::str::FromStr;

use mailtier_types::EnhancedCode;

/// The text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoPattern;

/// Reply codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CodePattern([Option<u16>; 3]);

impl CodePattern {
    pub(super) fn fits(self, code: u16) -> bool {
        let digits = [code / 100, code / 10 % 10, code % 10];
        self.0.iter().zip(digits).all(|(wanted, digit)| wanted.is_none_or(|wanted| wanted == digit))
    }

    pub(super) fn may_begin_with(self, digit: u16) -> bool {
        let [first, ..] = self.0;
        first == Some(digit)
    }
}

impl FromStr for CodePattern {
    type Err = NoPattern;

    /// The first digit is 4 or 5: rules are about failures.
    fn from_str(text: &str) -> Result<Self, NoPattern> {
        let digit = |byte: &u8| match byte {
            b'x' => Some(None),
            byte => byte.is_ascii_digit().then(|| Some(u16::from(byte - b'0'))),
        };
        match text.as_bytes() {
            [b'4' | b'5', second, third] => {
                let first = text.as_bytes().first().and_then(digit).ok_or(NoPattern)?;
                Ok(Self([first, digit(second).ok_or(NoPattern)?, digit(third).ok_or(NoPattern)?]))
            }
            _ => Err(NoPattern),
        }
    }
}

/// Enhanced codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EnhancedPattern {
    class: Option<u16>,
    subject: Option<u16>,
    detail: Option<u16>,
}

impl EnhancedPattern {
    pub(super) fn fits(self, code: EnhancedCode) -> bool {
        let fits = |wanted: Option<u16>, found: u16| wanted.is_none_or(|wanted| wanted == found);
        fits(self.class, u16::from(code.class()))
            && fits(self.subject, code.subject())
            && fits(self.detail, code.detail())
    }
}

impl FromStr for EnhancedPattern {
    type Err = NoPattern;

    fn from_str(text: &str) -> Result<Self, NoPattern> {
        let number = |part: &str| match part {
            "x" => Ok(None),
            part => part.parse().map(Some).map_err(|_| NoPattern),
        };
        match text.split('.').collect::<Vec<_>>().as_slice() {
            [class @ ("4" | "5" | "x"), subject, detail] => {
                Ok(Self { class: number(class)?, subject: number(subject)?, detail: number(detail)? })
            }
            _ => Err(NoPattern),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_x_is_anything_in_its_place() {
        for (pattern, fits, others) in [("421", &[421][..], &[420, 521][..]), ("45x", &[450, 459], &[440, 550])] {
            let pattern: CodePattern = pattern.parse().unwrap();
            assert!(fits.iter().all(|code| pattern.fits(*code)) && !others.iter().any(|code| pattern.fits(*code)));
        }
        for text in ["", "x21", "2xx", "42", "4210", "4 1"] {
            assert_eq!(text.parse::<CodePattern>(), Err(NoPattern), "{text}");
        }
        let pattern: EnhancedPattern = "x.7.28".parse().unwrap();
        assert!(pattern.fits(EnhancedCode::new(4, 7, 28)) && pattern.fits(EnhancedCode::new(5, 7, 28)));
        assert!(!pattern.fits(EnhancedCode::new(4, 7, 2)));
        assert!("5.7.x".parse::<EnhancedPattern>().is_ok_and(|pattern| pattern.fits(EnhancedCode::new(5, 7, 606))));
        for text in ["", "4.7", "2.0.0", "4.7.1.1", "4.7.y", "4.7.99999"] {
            assert_eq!(text.parse::<EnhancedPattern>(), Err(NoPattern), "{text}");
        }
    }
}
