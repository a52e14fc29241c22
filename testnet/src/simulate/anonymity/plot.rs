//! The picture from which the mix of near and far links was chosen. Not here:
//! how it was measured.

use std::path::Path;

use plotters::prelude::*;

use super::measure::Measured;

/// Pixels.
const SIZE: (u32, u32) = (1200, 460);
/// One colour for each number of nodes.
const COLOURS: [RGBColor; 4] = [
    RGBColor(0x1b, 0x6c, 0xa8),
    RGBColor(0xd1, 0x5a, 0x1b),
    RGBColor(0x3a, 0x8f, 0x4d),
    RGBColor(0x7a, 0x3f, 0x9d),
];
/// The share of differing back legs that is asked for, in per cent.
const WANTED: f64 = 40.0;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// One line: the number of nodes and, for each near share, a figure.
struct Line {
    nodes: usize,
    points: Vec<(f64, f64)>,
}

/// Writes the picture as SVG.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn near_far(path: &Path, all: &[Measured]) -> Outcome {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let panels = area.split_evenly((1, 3));
    let back = lines(all, |one| Some(one.differing * 100.0));
    let three = lines(all, |one| Some(one.reach.first()?.three_hops.p50));
    let four = lines(all, |one| Some(one.reach.first()?.four_hops.p50));
    panel(
        &panels[0],
        "back legs with other relays, %",
        &back,
        100.0,
        Some(WANTED),
    )?;
    let top = |lines: &[Line]| {
        let values = lines.iter().flat_map(|line| &line.points);
        values.map(|point| point.1).fold(1.0, f64::max) * 1.2
    };
    panel(
        &panels[1],
        "exits at three hops (p50, a third are exits)",
        &three,
        top(&three),
        None,
    )?;
    panel(
        &panels[2],
        "exits at four hops (p50, a third are exits)",
        &four,
        top(&four),
        None,
    )?;
    area.present()?;
    Ok(())
}

fn lines(all: &[Measured], figure: impl Fn(&Measured) -> Option<f64>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for one in all {
        let Some(value) = figure(one) else { continue };
        let point = (one.near_share, value);
        match lines.iter_mut().find(|line| line.nodes == one.nodes) {
            Some(line) => line.points.push(point),
            None => lines.push(Line {
                nodes: one.nodes,
                points: vec![point],
            }),
        }
    }
    lines
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    lines: &[Line],
    top: f64,
    wanted: Option<f64>,
) -> Outcome {
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 17))
        .margin(14)
        .x_label_area_size(36)
        .y_label_area_size(44)
        .build_cartesian_2d(0.0..1.0, 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc("share of introductions that look for a near neighbour")
        .x_labels(5)
        .y_labels(8)
        .light_line_style(TRANSPARENT)
        .draw()?;
    if let Some(wanted) = wanted {
        let line = LineSeries::new([(0.0, wanted), (1.0, wanted)], BLACK.mix(0.4));
        chart.draw_series(line)?;
    }
    for (line, colour) in lines.iter().zip(COLOURS.into_iter().cycle()) {
        let series = LineSeries::new(line.points.iter().copied(), colour.stroke_width(2));
        chart
            .draw_series(series.point_size(4))?
            .label(format!("{} nodes", line.nodes))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}
