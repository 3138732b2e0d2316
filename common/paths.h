#pragma once
// Parts of a path, as text: nothing is looked up.

#include <string>

namespace contrail {

// "/a/b.tar" -> "/a"; "b.tar" -> "."; "/b" -> "/".
std::string FolderOf(const std::string& path);

// "/a/b.tar" -> "b.tar".
std::string BaseName(const std::string& path);

}  // namespace contrail
