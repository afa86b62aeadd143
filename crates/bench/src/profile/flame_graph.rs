//! Folded stacks drawn as a flame graph (B. Gregg, "The Flame Graph", CACM 59(6), 2016): a box is a frame, as wide as the
//! share of the samples that have it there. A plain picture: names that have no room are told by pointing at the box.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// All in pixels.
const WIDTH: f64 = 1800.0;
const ROW: f64 = 17.0;
const HEAD: f64 = 40.0;
/// Narrower boxes are left out.
const NARROWEST: f64 = 0.4;
/// Of a letter in the font that is used.
const LETTER: f64 = 6.6;

#[derive(Debug, Default)]
struct Frame<'a> {
    samples: u64,
    inner: BTreeMap<&'a str, Frame<'a>>,
}

impl Frame<'_> {
    fn depth(&self) -> usize {
        1 + self.inner.values().map(Frame::depth).max().unwrap_or(0)
    }
}

/// A picture of these stacks; the outermost frame is at the bottom.
pub(crate) fn svg(title: &str, stacks: &BTreeMap<String, u64>) -> String {
    let mut root = Frame::default();
    for (stack, count) in stacks {
        let mut frame = &mut root;
        frame.samples += count;
        for name in stack.split(';') {
            frame = frame.inner.entry(name).or_default();
            frame.samples += count;
        }
    }
    let height = root.depth() as f64 * ROW + HEAD;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"monospace\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fdfdf6\"/>\n\
         <text x=\"10\" y=\"24\" font-size=\"15\">{}: {} samples</text>\n",
        escaped(title),
        root.samples
    );
    let canvas = Canvas { total: root.samples.max(1), height };
    canvas.draw(&mut text, "all", &root, 0.0, 0);
    text.push_str("</svg>\n");
    text
}

struct Canvas {
    total: u64,
    height: f64,
}

impl Canvas {
    fn draw(&self, text: &mut String, name: &str, frame: &Frame<'_>, left: f64, level: usize) {
        let width = frame.samples as f64 / self.total as f64 * WIDTH;
        if width < NARROWEST {
            return;
        }
        let top = self.height - (level + 1) as f64 * ROW;
        let share = frame.samples as f64 / self.total as f64 * 100.0;
        let full = escaped(name);
        let _ = write!(
            text,
            "<g><title>{full}: {} samples, {share:.2} %</title>\
             <rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{}\" rx=\"1\"/>",
            frame.samples,
            ROW - 1.0,
            colour(name)
        );
        let room = (width / LETTER) as usize;
        if room > 3 {
            let shown: String = name.chars().take(room - 1).collect();
            let _ = write!(text, "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", left + 2.0, top + 12.0, escaped(&shown));
        }
        text.push_str("</g>\n");
        let mut left = left;
        for (name, inner) in &frame.inner {
            self.draw(text, name, inner, left, level + 1);
            left += inner.samples as f64 / self.total as f64 * WIDTH;
        }
    }
}

/// By where the code is from; a little different from name to name.
fn colour(name: &str) -> String {
    let shade = name.bytes().fold(7_u32, |sum, octet| sum.wrapping_mul(31).wrapping_add(octet.into())) % 40;
    let hue = match name {
        name if name.ends_with("_[k]") => 28,
        name if name.contains("mailtier_") => 130,
        name if name.starts_with('[') => 0,
        name if name.contains("tokio") => 200,
        name if name.contains("::") => 55,
        _ => 330,
    };
    let (saturation, lightness) = if hue == 0 { (0, 78) } else { (70, 62 + shade / 2) };
    format!("hsl({hue},{saturation}%,{lightness}%)")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_as_wide_as_its_share() {
        let stacks = BTreeMap::from([("thread;main;Vec<T>::push".to_owned(), 1), ("thread;main".to_owned(), 3)]);
        let picture = svg("mailtier-queue", &stacks);
        assert!(picture.contains("<title>main: 4 samples, 100.00 %</title>"), "{picture}");
        let push = picture.lines().find(|line| line.contains("Vec&lt;T&gt;::push: 1 samples, 25.00 %")).unwrap();
        assert!(push.contains("width=\"450.0\""), "{push}");
        assert!(picture.ends_with("</svg>\n"));
    }
}
