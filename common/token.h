#pragma once
// Names that nobody else has.

#include <string>

namespace contrail {

// 64 bits from the kernel's random numbers as 16 hex digits: two processes on any two hosts never
// draw the same.
std::string RandomToken();

}  // namespace contrail
