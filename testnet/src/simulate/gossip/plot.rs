//! Charts as SVG: lines with their intervals, bars, and lines that mark a
//! target. White ground, so that they can be read on light and dark pages.
//! Which charts there are is in [`super::figures`].

use std::fmt::Display;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::TestnetError;

const WIDTH: u32 = 860;
const HEIGHT: u32 = 520;
/// Height of the caption below the chart, a line and in all.
const CAPTION_LINE: i32 = 17;
const INK: RGBColor = RGBColor(34, 34, 34);
const PALE: RGBColor = RGBColor(110, 110, 110);
/// Colours that people with any colour vision can tell apart (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];

/// An axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// What it shows, with its unit.
    pub label: String,
    /// Where it begins.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// How its numbers are written.
    pub scale: Scale,
}

/// How the numbers of an axis are written, and where they are.
#[derive(Debug, Clone, PartialEq)]
pub enum Scale {
    /// As they are.
    Linear,
    /// Shares, as percent.
    Percent,
    /// Logarithmic; values are given as they are, and these are labelled.
    Log(Vec<f64>),
    /// Names, each in the middle of its unit: the first between 0 and 1.
    Names(Vec<String>),
}

/// A point with the ends of its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dot {
    /// Along.
    pub x: f64,
    /// Up.
    pub y: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// A line in a band.
    Band,
    /// Dots with whiskers, joined by a line.
    Dots,
    /// Bars with whiskers; `x` is the number of the name.
    Bars,
}

/// One series.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// How it is drawn.
    pub look: Look,
    /// Its points.
    pub dots: Vec<Dot>,
}

/// A dashed line at a target or an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Mark {
    /// At a height.
    Across(f64, String),
    /// At a moment.
    Up(f64, String),
}

/// A chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// Lines below it: where the figures come from.
    pub caption: Vec<String>,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// What is drawn.
    pub lines: Vec<Line>,
    /// Targets and events.
    pub marks: Vec<Mark>,
}

fn text(size: i32, colour: RGBColor) -> TextStyle<'static> {
    let mut style = TextStyle::from(("sans-serif", size).into_font());
    style.color = colour.to_backend_color();
    style
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Plane<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

fn failed(error: impl Display) -> TestnetError {
    TestnetError::Options(format!("a chart cannot be drawn: {error}"))
}

impl Scale {
    fn place(&self, value: f64) -> f64 {
        match self {
            Self::Log(_) => value.max(f64::MIN_POSITIVE).log10(),
            _ => value,
        }
    }

    fn write(&self, place: f64) -> String {
        match self {
            Self::Linear => number(place),
            Self::Percent => format!("{} %", number(place * 100.0)),
            // Labelled by hand.
            Self::Log(_) | Self::Names(_) => String::new(),
        }
    }

    fn ticks(&self) -> usize {
        match self {
            Self::Linear | Self::Percent => 10,
            Self::Log(_) | Self::Names(_) => 0,
        }
    }
}

/// A number without noise behind the decimal point, with commas for thousands.
#[must_use]
pub fn number(value: f64) -> String {
    let rounded = (value * 1e4).round() / 1e4;
    if rounded.abs() < 1000.0 {
        return format!("{}", rounded + 0.0);
    }
    let digits = format!("{:.0}", rounded.abs());
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if rounded < 0.0 {
        format!("-{text}")
    } else {
        text
    }
}

impl Chart {
    /// Draws it.
    ///
    /// # Errors
    /// When an axis has no length.
    pub fn svg(&self) -> Result<String, TestnetError> {
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
            root.fill(&WHITE).map_err(failed)?;
            self.draw(&root)?;
            root.present().map_err(failed)?;
        }
        // For those who have pages read to them.
        let title = escape(&self.title);
        Ok(svg.replacen(
            ">\n",
            &format!(" role=\"img\">\n<title>{title}</title>\n"),
            1,
        ))
    }

    fn draw(&self, root: &Area<'_>) -> Result<(), TestnetError> {
        root.draw_text(&self.title, &text(19, INK), (16, 12))
            .map_err(failed)?;
        let below = i32::try_from(self.caption.len()).unwrap_or(0) * CAPTION_LINE;
        let top = i32::try_from(HEIGHT).unwrap_or(0) - below - 8;
        for (line, at) in self.caption.iter().zip(0..) {
            let at = (16, top + at * CAPTION_LINE);
            root.draw_text(line, &text(12, PALE), at).map_err(failed)?;
        }
        let area = root.margin(40, below + 12, 8, 20);
        let (x, y) = (&self.x, &self.y);
        let place = |axis: &Axis| axis.scale.place(axis.from)..axis.scale.place(axis.to);
        let mut plane = ChartBuilder::on(&area)
            .x_label_area_size(48)
            .y_label_area_size(74)
            .build_cartesian_2d(place(x), place(y))
            .map_err(failed)?;
        plane
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(RGBColor(225, 225, 225))
            .axis_style(PALE)
            .x_labels(x.scale.ticks())
            .y_labels(y.scale.ticks())
            .x_label_formatter(&|v| x.scale.write(*v))
            .y_label_formatter(&|v| y.scale.write(*v))
            .label_style(text(13, INK))
            .axis_desc_style(text(14, INK))
            .x_desc(x.label.as_str())
            .y_desc(y.label.as_str())
            .draw()
            .map_err(failed)?;
        self.own_labels(root, &plane)?;
        self.draw_marks(&mut plane)?;
        let bars = self
            .lines
            .iter()
            .filter(|line| line.look == Look::Bars)
            .count();
        for (i, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            match line.look {
                Look::Bars => self.draw_bars(&mut plane, line, colour, i, bars)?,
                Look::Band | Look::Dots => self.draw_line(&mut plane, line, colour)?,
            }
        }
        if self.lines.len() > 1 {
            plane
                .configure_series_labels()
                .position(self.free_corner())
                .background_style(WHITE.mix(0.85))
                .border_style(RGBColor(200, 200, 200))
                .label_font(text(13, INK))
                .margin(12)
                .draw()
                .map_err(failed)?;
        }
        Ok(())
    }

    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        // What lies beyond the axes is drawn at their ends.
        let (low, high) = (self.y.from.min(self.y.to), self.y.from.max(self.y.to));
        (
            self.x.scale.place(x),
            self.y.scale.place(y.clamp(low, high)),
        )
    }

    /// Labels of axes that do not count evenly.
    fn own_labels(&self, root: &Area<'_>, plane: &Plane<'_>) -> Result<(), TestnetError> {
        let labels: Vec<(f64, String)> = match &self.x.scale {
            Scale::Log(at) => at.iter().map(|v| (v.log10(), number(*v))).collect(),
            Scale::Names(names) => {
                let middle = |(i, name): (u32, &String)| (f64::from(i) + 0.5, name.clone());
                (0u32..).zip(names).map(middle).collect()
            }
            Scale::Linear | Scale::Percent => return Ok(()),
        };
        let style = text(13, INK).pos(Pos::new(HPos::Center, VPos::Top));
        let bottom = self.y.scale.place(self.y.from);
        for (place, label) in labels {
            let (x, y) = plane.plotting_area().map_coordinate(&(place, bottom));
            let tick = PathElement::new(vec![(x, y), (x, y + 5)], PALE);
            root.draw(&tick).map_err(failed)?;
            root.draw_text(&label, &style, (x, y + 8)).map_err(failed)?;
        }
        Ok(())
    }

    fn draw_marks(&self, plane: &mut Plane<'_>) -> Result<(), TestnetError> {
        let style = text(12, PALE);
        for mark in &self.marks {
            let (points, at, words, pos, off) = match mark {
                Mark::Across(y, words) => (
                    [self.at(self.x.from, *y), self.at(self.x.to, *y)],
                    self.at(self.x.to, *y),
                    words,
                    Pos::new(HPos::Right, VPos::Top),
                    (-6, 5),
                ),
                Mark::Up(x, words) => (
                    [self.at(*x, self.y.from), self.at(*x, self.y.to)],
                    self.at(*x, self.y.from),
                    words,
                    Pos::new(HPos::Left, VPos::Bottom),
                    (6, -5),
                ),
            };
            plane
                .draw_series(DashedLineSeries::new(points, 5, 4, PALE.stroke_width(1)))
                .map_err(failed)?;
            let shown = EmptyElement::at(at) + Text::new(words.clone(), off, style.pos(pos));
            plane.draw_series(std::iter::once(shown)).map_err(failed)?;
        }
        Ok(())
    }

    fn draw_line(
        &self,
        plane: &mut Plane<'_>,
        line: &Line,
        colour: RGBColor,
    ) -> Result<(), TestnetError> {
        let dots = &line.dots;
        if line.look == Look::Band {
            let low = dots.iter().map(|d| self.at(d.x, d.low));
            let high = dots.iter().rev().map(|d| self.at(d.x, d.high));
            let band = Polygon::new(
                low.chain(high).collect::<Vec<_>>(),
                colour.mix(0.2).filled(),
            );
            plane.draw_series(std::iter::once(band)).map_err(failed)?;
        } else {
            for dot in dots {
                self.whisker(plane, dot.x, dot, colour)?;
            }
            let circles = dots
                .iter()
                .map(|d| Circle::new(self.at(d.x, d.y), 4, colour.filled()));
            plane.draw_series(circles).map_err(failed)?;
        }
        let points = dots.iter().map(|d| self.at(d.x, d.y));
        plane
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))
            .map_err(failed)?
            .label(line.name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
        Ok(())
    }

    fn draw_bars(
        &self,
        plane: &mut Plane<'_>,
        line: &Line,
        colour: RGBColor,
        which: usize,
        of: usize,
    ) -> Result<(), TestnetError> {
        #[expect(clippy::cast_precision_loss, reason = "few series")]
        let (which, of) = (which as f64, of as f64);
        let width = 0.8 / of;
        let left = |dot: &Dot| dot.x + 0.1 + which * width;
        let bars = line.dots.iter().map(|dot| {
            let corners = [
                self.at(left(dot), 0.0),
                self.at(left(dot) + width * 0.94, dot.y),
            ];
            Rectangle::new(corners, colour.filled())
        });
        plane
            .draw_series(bars)
            .map_err(failed)?
            .label(line.name.as_str())
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], colour.filled()));
        for dot in &line.dots {
            self.whisker(plane, left(dot) + width * 0.47, dot, INK)?;
        }
        Ok(())
    }

    fn whisker(
        &self,
        plane: &mut Plane<'_>,
        x: f64,
        dot: &Dot,
        colour: RGBColor,
    ) -> Result<(), TestnetError> {
        if dot.low >= dot.high {
            return Ok(());
        }
        let ends = [self.at(x, dot.low), self.at(x, dot.high)];
        let stem = PathElement::new(ends, colour.stroke_width(1));
        plane.draw_series(std::iter::once(stem)).map_err(failed)?;
        for end in ends {
            let cap = EmptyElement::at(end) + PathElement::new([(-4, 0), (4, 0)], colour);
            plane.draw_series(std::iter::once(cap)).map_err(failed)?;
        }
        Ok(())
    }

    /// The corner of the plane with the fewest points in it.
    fn free_corner(&self) -> SeriesLabelPosition {
        let share = |axis: &Axis, v: f64| {
            let (from, to) = (axis.scale.place(axis.from), axis.scale.place(axis.to));
            (axis.scale.place(v) - from) / (to - from)
        };
        let corners = [
            (SeriesLabelPosition::UpperRight, true, true),
            (SeriesLabelPosition::LowerRight, true, false),
            (SeriesLabelPosition::UpperLeft, false, true),
            (SeriesLabelPosition::LowerLeft, false, false),
        ];
        let taken = |right: bool, upper: bool| {
            let dots = self.lines.iter().flat_map(|line| &line.dots);
            dots.filter(|dot| {
                let (x, y) = (share(&self.x, dot.x), share(&self.y, dot.y));
                (x > 0.6) == right && (x < 0.4) != right && (y > 0.6) == upper && (y < 0.4) != upper
            })
            .count()
        };
        let best = corners
            .into_iter()
            .min_by_key(|(_, right, upper)| taken(*right, *upper));
        best.map_or(SeriesLabelPosition::UpperRight, |(position, ..)| position)
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_on_axes() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (0.1 + 0.2, "0.3"),
            (999.0, "999"),
            (10_000.0, "10,000"),
            (-1_234_567.0, "-1,234,567"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn titles_cannot_break_the_svg() {
        let axis = |scale| Axis {
            label: "x < y & z".to_owned(),
            from: 0.0,
            to: 1.0,
            scale,
        };
        let dot = Dot {
            x: 0.0,
            y: 5.0,
            low: -1.0,
            high: 9.0,
        };
        let chart = Chart {
            title: "</title><script>".to_owned(),
            caption: vec!["a & b".to_owned()],
            x: axis(Scale::Names(vec!["only".to_owned()])),
            y: axis(Scale::Linear),
            lines: vec![Line {
                name: "<bars>".to_owned(),
                look: Look::Bars,
                dots: vec![dot],
            }],
            marks: vec![Mark::Across(0.5, "<half>".to_owned())],
        };
        let svg = chart.svg().unwrap();
        assert!(
            !svg.contains("<script>") && !svg.contains("<half>"),
            "{svg}"
        );
        assert_eq!(svg.matches("<title>").count(), 1);
        assert!(svg.contains("a &amp; b"));
    }
}
