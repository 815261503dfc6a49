// Speaks MQTT as the fragment of the page's address says, and tells its server what
// it found, step by step. The fragment is JSON: {plan, broker, untrusted, web, foreign, user, password, topic}.
'use strict'

const order = JSON.parse(decodeURIComponent(location.hash.slice(1)))

function tell (step, ok, text) {
  return fetch('/told', { method: 'POST', body: JSON.stringify({ step, ok, text: String(text) }) })
}

// connect resolves to a client that was let in.
function connect (url, more) {
  return new Promise((resolve, reject) => {
    const client = mqtt.connect(url, {
      protocolVersion: 5, username: order.user, password: order.password, reconnectPeriod: 0, connectTimeout: 15000, ...more
    })
    client.once('connect', () => resolve(client))
    client.once('error', err => reject(new Error(`error ${err.code} ${err.message}`)))
    client.once('close', () => reject(new Error('closed')))
  })
}

// echo sends a message to itself.
async function echo (version) {
  const client = await connect(order.broker, { protocolVersion: version })
  const arrived = new Promise(resolve => client.once('message', (topic, payload, packet) => resolve(`${topic} ${packet.qos} ${payload}`)))
  const [granted] = await client.subscribeAsync(order.topic, { qos: 1 })
  await client.publishAsync(order.topic, `from a page, ${version}`, { qos: 1 }) // until its PUBACK
  const text = `granted ${granted.qos}, ${await arrived}`
  await client.endAsync()
  return text
}

async function letIn (url, more) {
  const client = await connect(url, more)
  await client.endAsync()
  return 'let in'
}

// frame shows the page of another origin, which tells its own server.
function frame (url) {
  const f = document.createElement('iframe')
  f.src = url
  document.body.append(f)
  return new Promise(resolve => { f.onload = () => resolve('shown') })
}

const plans = {
  main: [
    ['MQTT 5.0', () => echo(5)],
    ['MQTT 3.1.1', () => echo(4)],
    ['wrong password', () => letIn(order.broker, { password: 'wrong' })],
    ['untrusted server', () => letIn(order.untrusted)],
    ['a request that is no WebSocket', () => fetch(order.web, { mode: 'no-cors' }).then(answer => answer.type)],
    ['frame', () => frame(order.foreign)]
  ],
  foreign: [['foreign origin', () => letIn(order.broker)]]
}

addEventListener('load', async () => {
  for (const [step, run] of plans[order.plan]) {
    await run().then(text => tell(step, true, text), err => tell(step, false, err.message))
  }
  // The browser writes its network log in batches: what comes after brings the last of it.
  setInterval(() => fetch('/page.html', { cache: 'no-store' }), 50)
})
