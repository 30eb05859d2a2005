//! The text that Prometheus and its like read: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::{Display, Write};

/// Its media type.
pub const EXPOSITION_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What kind of figure a family holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by upper bounds, with a sum.
    Histogram,
}

/// The text in the making.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// Begins a family: its samples follow.
    pub fn family(&mut self, name: &str, figure: Figure, help: &str) {
        let kind = match figure {
            Figure::Counter => "counter",
            Figure::Gauge => "gauge",
            Figure::Histogram => "histogram",
        };
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// One sample.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, text)| format!("{label}=\"{}\"", escaped(text)))
            .collect();
        match labels.is_empty() {
            true => self.line(format_args!("{name} {value}")),
            false => self.line(format_args!("{name}{{{}}} {value}", labels.join(","))),
        }
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, name: &str, figure: Figure, help: &str, value: impl Display) {
        self.family(name, figure, help);
        self.sample(name, &[], value);
    }

    /// The whole text.
    pub fn finish(self) -> String {
        self.0
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        if writeln!(self.0, "{text}").is_err() {
            tracing::debug!("a figure was left out");
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_labels_are_escaped() {
        let mut text = Exposition::default();
        text.family("assetfs_x_total", Figure::Counter, "Things.");
        text.sample("assetfs_x_total", &[("route", "GET \"a\\b\"\nc"), ("of", "2")], 7);
        text.single("assetfs_y", Figure::Gauge, "More.", 0.5);
        assert_eq!(
            text.finish(),
            "# HELP assetfs_x_total Things.\n# TYPE assetfs_x_total counter\n\
             assetfs_x_total{route=\"GET \\\"a\\\\b\\\"\\nc\",of=\"2\"} 7\n\
             # HELP assetfs_y More.\n# TYPE assetfs_y gauge\nassetfs_y 0.5\n"
        );
    }
}
