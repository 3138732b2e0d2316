#pragma once
// What a file is that is not what its name says: told from its first bytes, for messages.

#include <string_view>

namespace contrail::data {

// "a gzip file", "an HTML page", "a GIF picture" ...; "" where the bytes are none of those known.
std::string_view KindOfBytes(std::string_view head);

}  // namespace contrail::data
