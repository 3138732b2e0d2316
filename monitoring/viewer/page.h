#pragma once
// `contrail view RUN --once`: one plain page, no escapes (foreign ones are
// spelt out), for logs, pipes and mail.

#include <string>

#include "monitoring/viewer/status.h"

namespace contrail::monitor {

std::string RenderPage(const RunStatus& status);

}  // namespace contrail::monitor
