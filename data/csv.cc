#include "data/csv.h"

#include <algorithm>

#include "common/error.h"
#include "common/file_system.h"
#include "common/strings.h"
#include "data/caption.h"

namespace contrail::data {

CsvReader::CsvReader(const std::string& path) : path_(path) {
  if (!PosixFileSystem().Exists(path)) {
    throw UserError("E-DATA-MISSING", path, "no such file", "check the path");
  }
  text_ = PosixFileSystem().ReadAll(path);
  RefuseWideText(std::string_view(text_).substr(0, kMaxCaption), path);
  if (text_.starts_with("\xef\xbb\xbf")) at_ = 3;  // a byte-order mark
  const std::string first = text_.substr(at_, text_.find('\n', at_) - at_);
  if (first.find('\t') != std::string::npos) separator_ = '\t';
  header_ = ReadRow();
}

std::string CsvReader::where() const { return path_ + ":" + std::to_string(row_line_); }

size_t CsvReader::Column(const std::vector<std::string>& names) const {
  for (const std::string& name : names) {
    const auto found = std::find(header_.begin(), header_.end(), name);
    if (found != header_.end()) return static_cast<size_t>(found - header_.begin());
  }
  throw UserError("E-DATA-CSV", path_ + ":1",
                  "no column named " + Join(names, " or ") + " among: " + Join(header_, ", "),
                  "rename one in the header row");
}

bool CsvReader::Next(std::vector<std::string>& row) {
  while (at_ < text_.size() && (text_[at_] == '\n' || text_[at_] == '\r')) {
    line_ += text_[at_++] == '\n' ? 1 : 0;
  }
  if (at_ >= text_.size()) return false;
  row = ReadRow();
  if (row.size() != header_.size()) {
    throw UserError(
        "E-DATA-CSV", where(),
        std::to_string(row.size()) + " fields, the header has " + std::to_string(header_.size()),
        "put a field with separators in it in double quotes");
  }
  return true;
}

std::vector<std::string> CsvReader::ReadRow() {
  row_line_ = line_;
  std::vector<std::string> row(1);
  bool quoted = false;
  for (; at_ < text_.size(); ++at_) {
    const char c = text_[at_];
    if (c == '\n') ++line_;
    if (quoted) {
      if (c != '"') {
        row.back() += c;
      } else if (at_ + 1 < text_.size() && text_[at_ + 1] == '"') {
        row.back() += '"';
        ++at_;
      } else {
        quoted = false;
      }
    } else if (c == '"' && row.back().empty()) {
      quoted = true;
    } else if (c == separator_) {
      row.emplace_back();
    } else if (c == '\n') {
      ++at_;
      break;
    } else if (c != '\r') {
      row.back() += c;
    }
  }
  if (quoted) {
    throw UserError("E-DATA-CSV", where(), "a quoted field that never ends", "close its quote");
  }
  return row;
}

}  // namespace contrail::data
