/**
 * From the gateway's 202 to the alert on an SSE stream, with everything in one `weft dev` on the machine's cores: real
 * HTTP in, the whole pipeline, real SSE out. One event in twenty is the first of a session and raises an alert.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { Agent, get, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { percentile } from './side-by-side.ts'

const RATE = Number(process.argv[process.argv.indexOf('--rate') + 1]) || 1_000
const [WARM_UP, SECONDS] = [5, 15]
const RULES = `
rules:
  - name: first-event
    kind: threshold
    severity: info
    raise: 0
    clear: 0
    on: [session_start]
`

interface Places {
  readonly dashboard: string
  readonly alerts: string
  readonly events: readonly string[]
}

const directory = await mkdtemp(join(tmpdir(), 'weft-bench-'))
await writeFile(join(directory, 'weft.yaml'), RULES)
const program = fileURLToPath(new URL('../packages/cli/src/weft.ts', import.meta.url))
const port = 12_000 + Math.floor(Math.random() * 18_000)
const weft = spawn(process.execPath, [program, 'dev', '--no-demo', '--json', '--port', String(port)], {
  cwd: directory,
  stdio: ['ignore', 'pipe', 'inherit'],
})
const [printed] = await once(weft.stdout, 'data')
const places: Places = JSON.parse(String(printed))
const { token } = (await (await fetch(`${places.dashboard}/dev-token`)).json()) as { token: string }

const arrived = new Map<string, number>()
const stream = get(`${places.alerts}?access_token=${token}&from=latest`)
const [response] = await once(stream, 'response')
let rest = ''
response.setEncoding('utf8').on('data', (chunk: string) => {
  const now = performance.now()
  const frames = (rest + chunk).split('\n\n')
  rest = frames.pop() ?? ''
  for (const frame of frames) {
    const id = /"source_event_id":"([^"]+)"/.exec(frame)?.[1]
    if (id) arrived.set(id, now)
  }
})

const agent = new Agent({ keepAlive: true, maxSockets: 64 })
const accepted = new Map<string, number>()
const answers: number[] = []
let refused = 0
function send(n: number, due: number): void {
  const id = `e${n}`
  const session = `s${Math.floor(n / 20)}`
  const about = n % 20 === 0 ? { type: 'session_start', payload: { elapsed_ms: 0, visitor: 'new' } } : undefined
  const view = { type: 'page_view', payload: { elapsed_ms: n % 20, page: 'product' } }
  const body = JSON.stringify({ event_id: id, user_id: session, session_id: session, ...(about ?? view) })
  const headers = {
    authorization: 'Bearer wk_aurora_demo',
    'content-type': 'application/json',
    'content-length': body.length,
  }
  const sent = request(places.events[0] ?? '', { method: 'POST', agent, headers }, answer => {
    const now = performance.now()
    answer.resume()
    if (answer.statusCode !== 202) refused++
    else if (n >= RATE * WARM_UP) {
      answers.push(now - due)
      if (about) accepted.set(id, now)
    }
  })
  sent.end(body)
}

const began = performance.now()
const total = RATE * (WARM_UP + SECONDS)
for (let n = 0; n < total; ) {
  while (n < total && began + (n * 1000) / RATE <= performance.now()) send(n, began + (n++ * 1000) / RATE)
  await new Promise(resolve => setTimeout(resolve, 1))
}
const patience = performance.now() + 10_000
while ([...accepted.keys()].some(id => !arrived.has(id)) && performance.now() < patience)
  await new Promise(resolve => setTimeout(resolve, 20))

const delays = [...accepted].map(([id, at]) => Math.max(0, (arrived.get(id) ?? Number.POSITIVE_INFINITY) - at))
const shown = (samples: number[]) =>
  [0.5, 0.95, 0.99].map(share => `p${share * 100} ${percentile(samples, share).toFixed(1)} ms`).join(', ')
console.log(
  `${RATE.toLocaleString('en-US')} events/s for ${SECONDS} s, one a request, everything on this machine's cores`,
)
console.log(`  request to 202:           ${shown(answers)}   (${answers.length} accepted, ${refused} refused)`)
console.log(
  `  202 to the SSE frame:     ${shown(delays)}   (${delays.length} alerts, ${delays.filter(ms => ms === Number.POSITIVE_INFINITY).length} missing)`,
)
stream.destroy()
agent.destroy()
weft.kill('SIGINT')
await once(weft, 'exit')
await rm(directory, { recursive: true })
