//! The Parquet side: rows are gathered by column and written in groups, so that memory does not grow with the recording.

use std::fs::File;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as PhysicalType};
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType, Int64Type,
};
use parquet::errors::Result;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};

use crate::columns::{COLUMNS, Cell, Fixed};
use crate::rows::Row;

/// Rows of a group: some 30 MiB while it is gathered, and large enough for its dictionaries to pay.
const GROUP_ROWS: usize = 1 << 16;
/// Digits behind the point in the file: the most that one of our numbers has (`engine::decimal::DECIMALS_MAX`).
const SCALE: u8 = 18;
/// Digits in all: an `i64` has 19, moved by up to 18.
const PRECISION: i32 = 38;
/// Bytes of such a number.
const DECIMAL_BYTES: i32 = 16;

const _: () = assert!(SCALE == engine::decimal::DECIMALS_MAX);

/// Values of one column in the group that is gathered, and for each row whether it has one.
struct Gathered {
    values: Values,
    present: Vec<i16>,
}

enum Values {
    /// A text that is the same as the one before shares its bytes.
    Text(Vec<ByteArray>),
    Number(Vec<i64>),
    Decimal(Vec<FixedLenByteArray>),
    Mark(Vec<bool>),
}

/// A file that is being written.
pub(crate) struct Table {
    file: SerializedFileWriter<File>,
    gathered: Vec<Gathered>,
    gathered_rows: usize,
    rows: u64,
}

impl Table {
    pub fn new(file: File) -> Result<Self> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("meltica-parquet ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let file = SerializedFileWriter::new(file, schema()?, Arc::new(properties))?;
        let gathered = COLUMNS.iter().map(|column| Gathered::new((column.cell)(&Row::default()))).collect();
        Ok(Self { file, gathered, gathered_rows: 0, rows: 0 })
    }

    /// Puts a fact of the whole into the file's metadata.
    pub fn say(&mut self, key: &str, value: &str) {
        self.file.append_key_value_metadata(KeyValue::new(key.to_owned(), value.to_owned()));
    }

    pub fn append(&mut self, row: &Row<'_>) -> Result<()> {
        for (column, gathered) in COLUMNS.iter().zip(&mut self.gathered) {
            gathered.push((column.cell)(row));
        }
        self.gathered_rows += 1;
        self.rows += 1;
        if self.gathered_rows == GROUP_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let mut group = self.file.next_row_group()?;
        for gathered in &mut self.gathered {
            gathered.write(&mut group)?;
        }
        group.close()?;
        self.gathered_rows = 0;
        Ok(())
    }

    /// Writes what is gathered and the end of the file; returns the rows of all.
    pub fn close(mut self) -> Result<u64> {
        if self.gathered_rows > 0 {
            self.flush()?;
        }
        self.file.close()?;
        Ok(self.rows)
    }
}

impl Gathered {
    /// Empty, for cells like this one.
    fn new(like: Cell<'_>) -> Self {
        let values = match like {
            Cell::Text(_) => Values::Text(Vec::new()),
            Cell::Count(_) | Cell::Time(_) => Values::Number(Vec::new()),
            Cell::Decimal(_) => Values::Decimal(Vec::new()),
            Cell::Mark(_) => Values::Mark(Vec::new()),
        };
        Self { values, present: Vec::new() }
    }

    fn push(&mut self, cell: Cell<'_>) {
        let present = match (&mut self.values, cell) {
            (Values::Text(values), Cell::Text(text)) => match (text, values.last()) {
                (Some(text), Some(last)) if last.data() == text.as_bytes() => {
                    let last = last.clone();
                    values.push(last);
                    true
                }
                _ => put(values, text.map(ByteArray::from)),
            },
            // The bits of an unsigned number: the schema says that they are one.
            (Values::Number(values), Cell::Count(number) | Cell::Time(number)) => {
                put(values, number.map(u64::cast_signed))
            }
            (Values::Decimal(values), Cell::Decimal(value)) => put(values, value.map(bytes)),
            (Values::Mark(values), Cell::Mark(mark)) => put(values, Some(mark)),
            _ => unreachable!("a column's cells are of one kind"),
        };
        self.present.push(i16::from(present));
    }

    /// Writes the column and forgets it.
    fn write(&mut self, group: &mut SerializedRowGroupWriter<'_, File>) -> Result<()> {
        let mut column = group.next_column()?.expect("the schema has a column for each of COLUMNS");
        let present = Some(&self.present[..]);
        match &mut self.values {
            Values::Text(values) => {
                column.typed::<ByteArrayType>().write_batch(values, present, None)?;
                values.clear();
            }
            Values::Number(values) => {
                column.typed::<Int64Type>().write_batch(values, present, None)?;
                values.clear();
            }
            Values::Decimal(values) => {
                column.typed::<FixedLenByteArrayType>().write_batch(values, present, None)?;
                values.clear();
            }
            Values::Mark(values) => {
                column.typed::<BoolType>().write_batch(values, present, None)?;
                values.clear();
            }
        }
        self.present.clear();
        column.close()
    }
}

fn put<T>(values: &mut Vec<T>, value: Option<T>) -> bool {
    let present = value.is_some();
    values.extend(value);
    present
}

/// A number at the file's scale, as Parquet wants it: big endian, two's complement.
fn bytes(value: Fixed) -> FixedLenByteArray {
    let by = 10_i128.pow(u32::from(SCALE.saturating_sub(value.decimals)));
    let scaled = i128::from(value.mantissa) * by;
    FixedLenByteArray::from(scaled.to_be_bytes().to_vec())
}

/// The file's schema; every column may be absent.
fn schema() -> Result<TypePtr> {
    let fields = COLUMNS.iter().map(|column| {
        let (physical, logical) = match (column.cell)(&Row::default()) {
            Cell::Text(_) => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
            Cell::Count(_) => (PhysicalType::INT64, Some(LogicalType::integer(64, false))),
            Cell::Time(_) => (PhysicalType::INT64, Some(LogicalType::timestamp(true, TimeUnit::NANOS))),
            Cell::Decimal(_) => {
                let decimal = LogicalType::decimal(i32::from(SCALE), PRECISION);
                (PhysicalType::FIXED_LEN_BYTE_ARRAY, Some(decimal))
            }
            Cell::Mark(_) => (PhysicalType::BOOLEAN, None),
        };
        let field = Type::primitive_type_builder(column.name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical);
        let field = match physical {
            PhysicalType::FIXED_LEN_BYTE_ARRAY => {
                field.with_length(DECIMAL_BYTES).with_precision(PRECISION).with_scale(i32::from(SCALE))
            }
            _ => field,
        };
        field.build().map(Arc::new)
    });
    let fields = fields.collect::<Result<_>>()?;
    Ok(Arc::new(Type::group_type_builder("event").with_fields(fields).build()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaled(mantissa: i64, decimals: u8) -> i128 {
        let bytes = bytes(Fixed { mantissa, decimals });
        i128::from_be_bytes(bytes.data().try_into().expect("16 bytes"))
    }

    #[test]
    fn every_number_of_ours_has_its_place_in_the_files_decimal() {
        assert_eq!(scaled(6_421_010, 2), 64_210_100_000_000_000_000_000);
        assert_eq!(scaled(-1, 18), -1);
        let most = scaled(i64::MAX, 0);
        assert_eq!(most, i128::from(i64::MAX) * 1_000_000_000_000_000_000);
        assert!(most < 10_i128.pow(PRECISION as u32));
    }
}
