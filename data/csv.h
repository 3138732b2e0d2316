#pragma once
// Tables with a header row: commas or tabs, fields quoted as RFC 4180 says.

#include <cstddef>
#include <string>
#include <vector>

namespace contrail::data {

class CsvReader {
 public:
  // Reads the file and its header; a tab in the header makes it a TSV. Throws UserError E-DATA-CSV,
  // E-DATA-MISSING, E-DATA-ENCODING (UTF-16).
  explicit CsvReader(const std::string& path);

  const std::vector<std::string>& header() const { return header_; }

  // The first of `names` that the header holds. Throws UserError E-DATA-CSV listing the columns.
  size_t Column(const std::vector<std::string>& names) const;

  // The next row, false at the end; blank lines are passed over. Throws UserError E-DATA-CSV with
  // file:line where a row has another number of fields or a quote stays open.
  bool Next(std::vector<std::string>& row);

  std::string where() const;  // file:line of the row given last

 private:
  std::vector<std::string> ReadRow();

  std::string path_;
  std::string text_;
  size_t at_ = 0;
  size_t line_ = 1;      // at at_
  size_t row_line_ = 1;  // where the last row began
  char separator_ = ',';
  std::vector<std::string> header_;
};

}  // namespace contrail::data
