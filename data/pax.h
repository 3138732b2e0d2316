#pragma once
// The extended headers of POSIX tar: records "<length> <key>=<value>\n".

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace contrail::data {

// What extension records say about the member after them; "" where they say nothing.
struct TarExtension {
  std::string name;
  std::string link;
  std::optional<uint64_t> size;
  bool sparse = false;  // GNU's: the contents are a map and pieces, not the file
};

// Adds what `text` says to `next`; false where any record is malformed.
bool ParsePax(std::string_view text, TarExtension& next);

}  // namespace contrail::data
