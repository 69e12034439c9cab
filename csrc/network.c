/* The drivers of the network's kernels: the table of this CPU's instruction set. One thread: beside the products, which
 * are BLAS's, these passes are short. */
#include "fastopt.h"
#include "fastopt_network.h"

void fo_run_forward(int activation, const struct fo_dense *layer) { fo_kernels()->network->forward[activation](layer); }
void fo_run_back(int activation, const struct fo_dense *layer) { fo_kernels()->network->back[activation](layer); }
void fo_run_squares(const struct fo_squares *job) { fo_kernels()->network->squares(job); }
