#pragma once
// Slurm's host list notation: "node[1-3,07],login" -> node1 node2 node3 node07 login.

#include <string>
#include <string_view>
#include <vector>

namespace contrail::slurm {

// Names in the order written; zero padding is kept ("n[08-10]" -> n08 n09 n10). Several bracket
// groups in one name multiply, the last one fastest. Throws UserError E-SLURM-HOSTLIST naming the
// text where brackets or numbers are ill-formed, or where it would give more than 65,536 names.
std::vector<std::string> ExpandHostList(std::string_view text);

}  // namespace contrail::slurm
