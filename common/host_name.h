#pragma once
// Which machine this is. Names alone do not tell: two containers, or two nodes set up from one
// image, may bear the same one, and a machine keeps its name when it starts anew.

#include <string>

namespace contrail {

std::string HostName();

// The kernel's id of this boot, the same in all its containers; "" where it is not told.
const std::string& BootId();

}  // namespace contrail
