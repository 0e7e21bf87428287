/**
 * A write to lmdb, which rejects, beside the promise of a write that failed, another one with the cause: whoever awaits
 * the write has heard of it, and an error that nobody awaits would end the process.
 */
export function written<Result>(write: Promise<Result>): Promise<Result> {
  write.catch((error: { commitError?: Promise<unknown> }) => error.commitError?.catch(() => {}))
  return write
}
