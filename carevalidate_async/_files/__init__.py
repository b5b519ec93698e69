"""
Files of payments: any kind of file to its rows, and rows back out.

A file imports only from those above it.

| file | purpose |
|---|---|
| `kinds.py` | what a file is, by its first bytes |
| `unpack.py` | gzip and zstd, a bounded piece at a time |
| `lines.py` | decoded lines, a bounded piece at a time |
| `texts.py` | what stands in place of nothing, and what spreadsheets make of a value |
| `misspelled.py` | what is wrong with an amount or a day, and what to change |
| `fields.py` | what the fields of a row mean: a confirmation, or what is wrong |
| `columns.py` | which field each column is |
| `csv_rows.py` | the rows of CSV |
| `json_rows.py` | the rows of JSON Lines |
| `thrift.py` | what a Parquet file says of itself |
| `parquet_pages.py` | how much memory its pages take |
| `parquet_rows.py` | the rows of Parquet, by pyarrow |
| `rows.py` | the rows of any of them: `RowReader` |
| `rejects.py` | rows back out, to be corrected and run |
"""
