#pragma once
// Whole gzip files in memory.

#include <string>

namespace contrail::data {

// The decompressed contents (a file that is not gzip is returned as it is). Throws
// std::runtime_error with the cause: unreadable, damaged, cut short, or more than `limit` bytes.
std::string ReadGzip(const std::string& path, size_t limit);

}  // namespace contrail::data
