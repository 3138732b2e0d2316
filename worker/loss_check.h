#pragma once
// Before the first step of every attempt: the loss, with the collectives it will really use,
// against its dense definition. A library, a compiler or a network that computes something else
// costs a run weeks before anybody sees it.

#include <string>

#include "worker/comm/comm.h"

namespace contrail::worker {

// Collective; milliseconds. A small batch of features, the same in every run, goes through the
// feature gather and the sharded loss at several scales up to 100; every rank compares the loss,
// the gradients of its own rows and those of scale and bias with the dense fp64 formula.
// Throws AgreedError E-LOSS-SELF-CHECK with the first rank that is off, and by how much.
// `loss` as train.loss.
void CheckLoss(Comm& comm, const std::string& loss);

}  // namespace contrail::worker
