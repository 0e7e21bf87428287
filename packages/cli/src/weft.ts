#!/usr/bin/env -S node --disable-warning=ExperimentalWarning
import { endOnLostErrors } from './interrupt.ts'
import { main } from './program.ts'

endOnLostErrors()
process.exitCode = await main(process.argv.slice(2))
// What was asked for is done and everything was closed: nothing that still waits somewhere holds up the end.
setTimeout(() => process.exit(), 1_000).unref()
