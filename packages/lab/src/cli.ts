#!/usr/bin/env node
import { main } from './cli/main.js';

// A reader that has seen enough (`physlm list | head`) closes the pipe: that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  process.stderr.write(`physlm: [standard output] cannot be written: ${error.message}\n`);
  process.exit(1);
});
process.exitCode = await main(process.argv.slice(2), process);
