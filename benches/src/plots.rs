//! Figures as pictures: throughput and longest wait by the number of threads or tasks.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;

use crate::figures::{Figures, Round, Series};

/// What is left of the picture's name when the number of workers is taken off the row's.
pub fn family(row: &str) -> &str {
    row.rsplit_once('/').map_or(row, |(family, _)| family)
}

/// The file of a family's picture.
pub fn file_name(family: &str) -> String {
    let letters = family.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
    letters.collect::<String>().replace("--", "-") + ".svg"
}

/// Draws one family of rows, which differ by their number of workers: throughput on the left, the
/// longest wait on the right, both logarithmic.
pub fn draw(family: &str, rows: &[&Figures<Round>], folder: &Path) -> Result<()> {
    let path = folder.join(file_name(family));
    let area = SVGBackend::new(&path, (1000, 360)).into_drawing_area();
    area.fill(&WHITE).map_err(|error| anyhow!("{error}"))?;
    let (left, right) = area.split_horizontally(500);
    panel(&left, &format!("{family}: million a second"), rows, |round| round.throughput / 1e6)
        .and_then(|()| {
            panel(&right, &format!("{family}: longest wait, ms"), rows, |round| {
                (round.longest / 1e6).max(1e-5)
            })
        })
        .and_then(|()| area.present().map_err(|error| anyhow!("{error}")))
        .with_context(|| format!("drawing {}", path.display()))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn panel(
    area: &Area,
    title: &str,
    rows: &[&Figures<Round>],
    figure: fn(&Round) -> f64,
) -> Result<()> {
    let points = |series: &Series<Round>, workers| (workers as f64, series.median(figure).value);
    let all =
        || rows.iter().flat_map(|row| row.series.iter().map(|series| points(series, row.workers)));
    let range = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values
            .fold((f64::INFINITY, 0.0), |(low, high), y| (f64::min(low, y), f64::max(high, y)));
        low * 0.8..high * 1.25
    };
    let x = range(&mut all().map(|point| point.0));
    let y = range(&mut all().map(|point| point.1));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 15))
        .margin(8)
        .x_label_area_size(28)
        .y_label_area_size(56)
        .build_cartesian_2d(x.log_scale(), y.log_scale())
        .map_err(|error| anyhow!("{error}"))?;
    chart
        .configure_mesh()
        .x_label_formatter(&|x| format!("{x:.0}"))
        .draw()
        .map_err(|error| anyhow!("{error}"))?;
    for (number, series) in rows[0].series.iter().enumerate() {
        let color = Palette99::pick(number).to_rgba();
        let width = if number == 0 { 3 } else { 1 };
        let line = rows.iter().filter_map(|row| Some(points(row.of(&series.rival)?, row.workers)));
        chart
            .draw_series(LineSeries::new(line, color.stroke_width(width)))
            .map_err(|error| anyhow!("{error}"))?
            .label(series.rival.clone())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(WHITE.mix(0.8))
        .label_font(("sans-serif", 11))
        .draw()
        .map_err(|error| anyhow!("{error}"))?;
    Ok(())
}
