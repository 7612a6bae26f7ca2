//! Equality of numbers by what they mean (RFC 6902 §4.6), although they are kept as written.

/// Whether two JSON numbers mean the same. One whose exponent is out of range is the same only as one with
/// the same text.
pub fn same(a: &str, b: &str) -> bool {
    a == b || matches!((Decimal::read(a), Decimal::read(b)), (Some(a), Some(b)) if a.same(&b))
}

/// A number's sign, its digits before and behind the point without zeros at either end of both
/// together, and the power of ten of the last digit.
#[derive(Default)]
struct Decimal<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    power: i64,
}

impl<'a> Decimal<'a> {
    /// `None` if the exponent is out of range.
    fn read(text: &'a str) -> Option<Self> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, text),
        };
        let at_exponent = text.split_once('e').or_else(|| text.split_once('E'));
        let (mantissa, exponent) = match at_exponent {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (mut whole, mut fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let behind_point = i64::try_from(fraction.len()).ok()?;
        let digits = whole.len() + fraction.len();
        fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() {
            whole = whole.trim_end_matches('0');
        }
        let dropped = i64::try_from(digits - whole.len() - fraction.len()).ok()?;
        let power = exponent.checked_sub(behind_point)?.checked_add(dropped)?;
        whole = whole.trim_start_matches('0');
        if whole.is_empty() {
            fraction = fraction.trim_start_matches('0');
        }
        if whole.is_empty() && fraction.is_empty() {
            return Some(Self::default());
        }
        Some(Self {
            negative,
            whole,
            fraction,
            power,
        })
    }

    fn same(&self, other: &Self) -> bool {
        let digits = |decimal: &Self| decimal.whole.len() + decimal.fraction.len();
        self.negative == other.negative
            && self.power == other.power
            && digits(self) == digits(other)
            && self.bytes().eq(other.bytes())
    }

    fn bytes(&self) -> impl Iterator<Item = u8> {
        self.whole.bytes().chain(self.fraction.bytes())
    }
}
