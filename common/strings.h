#pragma once
// Small text helpers shared by messages, tables and formats.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace contrail {

std::vector<std::string> Split(std::string_view text, char separator);
std::string Join(const std::vector<std::string>& parts, std::string_view separator);
std::string_view Trim(std::string_view text);

// The candidate nearest to `word` by edit distance, or "" where none is near enough to suggest.
std::string Nearest(std::string_view word, const std::vector<std::string>& candidates);

// "; did you mean 'train.lr'?"-style suggestion without the leading separator, or "".
std::string DidYouMean(std::string_view word, const std::vector<std::string>& candidates);

// Shortest decimal text that reads back as exactly the same double ("0.1", "1e-06", "nan").
std::string ExactDouble(double value);

std::string HumanBytes(uint64_t bytes);    // "1.5 GB" (powers of 1000)
std::string HumanSeconds(double seconds);  // "4.2 s", "3 min 10 s", "2 h 5 min"

// "pairs-{000..009}.tar" -> ten names; text without braces is returned alone.
// Throws UserError E-DATA-BRACES on an ill-formed range.
std::vector<std::string> ExpandBraces(std::string_view pattern);

}  // namespace contrail
