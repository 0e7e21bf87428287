import { readFileSync, readlinkSync } from 'node:fs'

/** A process as others on its host know it. */
export interface HostProcess {
  readonly pid: number
  /** Tells a process from a later one with the same id; empty where the system doesn't say. */
  readonly started: string
  /** Process ids mean something only within one namespace. */
  readonly namespace: string
}

/** This one, or another that runs in its namespace. */
export const hostProcess = (pid = process.pid): HostProcess => ({
  pid,
  started: startOf(pid),
  namespace: namespaceOf(),
})

/** Of a process in the namespace of this one. Where the system doesn't say enough it counts as running. */
export function isRunning({ pid, started }: HostProcess): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
  }
  const now = startOf(pid)
  return now === started || now === '' || started === ''
}

/** The boot, and field 22 of /proc/PID/stat; a zombie process counts as gone. */
function startOf(pid: number): string {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').pop()?.split(' ') ?? []
    if (fields[0] === 'Z') return 'gone'
    boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').slice(0, 8)
    return `${boot}.${fields[19]}`
  } catch {
    return ''
  }
}

let boot: string | undefined

function namespaceOf(): string {
  try {
    return readlinkSync('/proc/self/ns/pid')
  } catch {
    return process.platform
  }
}
