import { bars, stackedBars } from './charts.js'
import { follow } from './follow.js'

const SHOWN = 200
const element = id => document.getElementById(id)
const number = new Intl.NumberFormat('en', { maximumFractionDigits: 1, notation: 'compact' })
const clock = new Intl.DateTimeFormat(undefined, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
})
const minutes = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' })

const token = await accessToken()
const filters = element('filters')
const list = element('alerts')
let streams

filters.addEventListener('change', restart)
filters.addEventListener('submit', event => event.preventDefault())
restart()

/** The token of the address's #token=…, kept for this tab; in development the server hands one out on loopback. */
async function accessToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token')
  if (given) {
    sessionStorage.setItem('weft-token', given)
    history.replaceState(null, '', location.pathname)
    return given
  }
  const answer = await fetch('dev-token').catch(() => undefined)
  return answer?.ok ? (await answer.json()).token : (sessionStorage.getItem('weft-token') ?? '')
}

/** Opens both streams anew with what the filters say; the list starts with the alerts of the last ten minutes. */
function restart() {
  streams?.abort()
  streams = new AbortController()
  list.replaceChildren()
  notice('')
  const query = new URLSearchParams({ access_token: token })
  const tenant = element('tenant').value
  if (tenant) query.set('tenant', tenant)
  const severities = new FormData(filters).getAll('severity')
  const alerts = new URLSearchParams(query)
  alerts.set('severity', severities.join(','))
  alerts.set('from', new Date(Date.now() - 600_000).toISOString())
  showEmpty()
  if (severities.length > 0)
    follow(`v1/alerts/stream?${alerts}`, {
      signal: streams.signal,
      onState: connection,
      on: {
        alert: data => arrive(JSON.parse(data)),
        reset: data => {
          const { reason } = JSON.parse(data)
          notice(`Alerts were skipped here (${reason.replaceAll('_', ' ')}). The list goes on with what is kept.`)
        },
      },
    })
  else connection('live', 'Live, no severity chosen')
  follow(`v1/stats/stream?${query}`, {
    signal: streams.signal,
    onState: () => {},
    on: { stats: data => show(JSON.parse(data)) },
  })
}

function connection(state, said) {
  const place = element('connection')
  if (place.dataset.state === state && place.textContent === said) return
  place.dataset.state = state
  place.textContent = said
}

function notice(said) {
  element('notice').hidden = !said
  element('notice').textContent = said
}

function showEmpty() {
  element('empty').hidden = list.childElementCount > 0
  element('shown').textContent = list.childElementCount ? `${list.childElementCount} shown, newest first` : ''
}

function arrive(alert) {
  const row = document.createElement('li')
  row.className = 'new'
  row.dataset.severity = alert.severity
  row.dataset.alert = alert.alert_id
  row.dataset.state = alert.state
  const time = document.createElement('time')
  time.dateTime = new Date(alert.raised_at).toISOString()
  time.textContent = clock.format(alert.raised_at)
  const what = part('span', 'what', alert.message)
  what.append(part('small', '', `${alert.rule}, ${alert.state} · ${alert.user_id ?? alert.entity}`))
  row.append(
    time,
    part('span', 'severity', alert.state === 'cleared' ? 'cleared' : alert.severity),
    part('span', 'tenant', alert.store_id),
    what,
    part('span', 'score', alert.score == null ? '' : alert.score.toFixed(2)),
  )
  list.prepend(row)
  while (list.childElementCount > SHOWN) list.lastElementChild.remove()
  showEmpty()
}

function part(tag, className, text) {
  const made = document.createElement(tag)
  if (className) made.className = className
  made.textContent = text
  return made
}

function show(stats) {
  element('events-per-second').textContent = number.format(stats.eventsPerSecond)
  const now = stats.alertsPerMinute.at(-1)
  element('alerts-this-minute').textContent = number.format(now ? now.critical + now.warning + now.info : 0)
  element('lag').textContent = number.format(Math.max(0, ...stats.stages.map(stage => stage.lag)))
  element('dead-letters').textContent = number.format(stats.deadLetters)
  tenants(stats.tenants)
  element('per-minute').replaceChildren(
    stackedBars(
      stats.alertsPerMinute.map(({ minute, ...counts }) => ({
        label: minutes.format(minute),
        counts,
      })),
      ['critical', 'warning', 'info'],
    ),
  )
  const scored = stats.scores.reduce((sum, count) => sum + count, 0)
  element('scores').replaceChildren(
    bars(stats.scores.map((count, i) => ({ label: `${(i / 10).toFixed(1)}`, value: scored ? count / scored : 0 }))),
  )
  element('stages').replaceChildren(
    ...stats.stages.map(stage => {
      const row = document.createElement('tr')
      row.append(
        part('td', '', stage.stage),
        part('td', '', number.format(stage.in)),
        part('td', '', number.format(stage.out)),
        part('td', '', number.format(stage.lag)),
      )
      return row
    }),
  )
}

function tenants(names) {
  const select = element('tenant')
  const known = new Set(Array.from(select.options, option => option.value))
  for (const name of names) if (!known.has(name)) select.append(new Option(name, name))
  select.disabled = select.options.length < 2
}
